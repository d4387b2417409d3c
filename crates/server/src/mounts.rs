//! The table of client formats: which format is spoken at which path.
//!
//! The native protocol is one entry of the table, at `/ws`. Formats may share a path, and the
//! client then chooses one by its WebSocket subprotocol (RFC 6455, 1.9), or a format has a path of
//! its own. A format may also bring HTTP routes, and sessions whose messages are the body of an
//! HTTP response instead of a WebSocket.
//!
//! Nothing outside this file may name a format's path. How a format reads and writes is the
//! business of `crates/protocol`.

use std::{collections::HashSet, fmt, sync::Arc};

use http::HeaderMap;
use hubplane_hub::{Grant, Hub, frame::Encoding};
use tokio::io::{DuplexStream, duplex};
use warp::{Reply, filters::BoxedFilter, reply::Response};

use super::{
    context::{Context, Target},
    handoff::Handoff,
    problem::Problem,
    websocket::{NATIVE, Negotiated},
};

/// Routes as a warp filter that answers with a finished response.
pub type Routes = BoxedFilter<(Response,)>;

/// How many bytes of a response's body may wait for a slow client between the session and hyper.
/// When they are full, the session's outbox fills, and its limits apply.
const BODY_BYTES: usize = 16 * 1024;

/// The client formats at one path.
#[derive(Clone, Copy, Debug)]
pub struct Mount {
    /// The path, such as `/ws`: it begins with a slash, and is taken as it is.
    pub path: &'static str,
    /// The formats of the path's WebSocket, by their subprotocols. The first is spoken to a client that offers none of
    /// them. Empty where the path is no WebSocket.
    pub websocket: &'static [&'static Encoding],
    /// HTTP routes of the formats' own, at whatever paths; they answer what no other route of the hub does.
    pub routes: Option<fn(Mounted) -> Routes>,
}

/// The native protocol, which is always there.
const NATIVE_MOUNT: Mount = Mount {
    path: "/ws",
    websocket: NATIVE_FORMATS,
    routes: None,
};
static NATIVE_FORMATS: &[&Encoding] = &[&NATIVE];

/// A checked table of mounts. Cloning it is cheap. The default table holds the native protocol at
/// `/ws`.
#[derive(Clone, Debug)]
pub struct Mounts(Arc<[Mount]>);

impl Default for Mounts {
    fn default() -> Self {
        Self(Arc::new([NATIVE_MOUNT]))
    }
}

impl Mounts {
    /// Returns a table with the native protocol and the mounts in `more`.
    ///
    /// # Errors
    /// Returns a sentence for people if a path or one of its subprotocols is there twice, if a path
    /// does not begin with a slash, or if a mount has neither a WebSocket nor routes.
    pub fn with(more: &[Mount]) -> Result<Self, String> {
        let all: Vec<Mount> = Self::default().0.iter().chain(more).copied().collect();
        let mut paths = HashSet::new();
        for mount in &all {
            let path = mount.path;
            if !path.starts_with('/') {
                return Err(format!("the path {path:?} does not begin with a slash"));
            }
            if !paths.insert(path) {
                return Err(format!("{path} is mounted twice"));
            }
            if mount.websocket.is_empty() && mount.routes.is_none() {
                return Err(format!("nothing is mounted at {path}"));
            }
            let mut names = HashSet::new();
            for encoding in mount.websocket {
                let name = encoding.format.subprotocol();
                if !names.insert(name) {
                    return Err(format!("{path} has the subprotocol {name:?} twice"));
                }
            }
        }
        Ok(Self(all.into()))
    }

    /// Returns the mount that has a WebSocket at exactly this path, if there is one. A slash at the
    /// end counts.
    pub(super) fn websocket_at(&self, path: &str) -> Option<&Mount> {
        let mut all = self.0.iter();
        all.find(|mount| mount.path == path && !mount.websocket.is_empty())
    }

    /// Returns the routes that the mounts bring, in the order of the table. They are built anew for
    /// each shard, because a request's context names the shard that serves it.
    pub(super) fn routes(&self, context: &Context) -> Vec<Routes> {
        let with = self.0.iter().filter_map(|mount| mount.routes);
        with.map(|routes| routes(Mounted(context.clone())))
            .collect()
    }
}

impl Mount {
    /// Chooses the format of a WebSocket. `offers` are the values of `Sec-WebSocket-Protocol`, each
    /// a list with commas.
    ///
    /// Returns the first offer that this mount knows, with its format. A client that offers none,
    /// or only unknown ones, is spoken to in the mount's first format, and the answer then names no
    /// XX insists on one leave.
    pub(super) fn negotiated<'a>(
        &self,
        offers: impl Iterator<Item = &'a str>,
    ) -> (Option<&'static str>, &'static Encoding) {
        let named = |offer: &str| {
            let mut all = self.websocket.iter();
            all.find(|it| it.format.subprotocol() == offer)
        };
        let known = offers
            .flat_map(|value| value.split(','))
            .find_map(|offer| named(offer.trim()));
        match known {
            Some(encoding) => (Some(encoding.format.subprotocol()), encoding),
            None => (None, self.websocket[0]),
        }
    }
}

/// What a mount's own routes are given: the hub, the way to ask what a request may do, and the way
/// to open a session.
#[derive(Clone)]
pub struct Mounted(Context);

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mounted")
    }
}

impl Mounted {
    /// The hub that serves the request.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    /// Returns what a request may do. A route must ask this before it acts, as the server's own
    /// routes do.
    ///
    /// # Errors
    /// 401: the request shows a key, and it is wrong.
    pub fn grant(&self, headers: &HeaderMap) -> Result<Grant, Problem> {
        self.0.grant(headers)
    }

    /// Opens a session whose messages are the body of the returned response. The session lasts
    /// until the client goes away or the hub ends it. It subscribes to `channels` at once, as far
    /// as the grant allows it; the client can send nothing.
    ///
    /// Returns 503 instead if the shard has stopped or, in a server that embeds the hub, is too
    /// busy.
    pub async fn stream(
        &self,
        grant: Grant,
        encoding: &'static Encoding,
        channels: Vec<String>,
    ) -> Response {
        // hyper reads one end of the pipe as the response's body, and the session writes to the
        // other end.
        let (body, pipe) = duplex(BODY_BYTES);
        let negotiated = Negotiated {
            encoding,
            grant,
            with_key: false,
            channels,
            peer: None,
        };
        let handoff = Handoff::Body { pipe, negotiated };
        let given = match &self.0.target {
            Target::Here(shard) => shard.send(handoff).await.is_ok(),
            Target::Any(shards) => shards.give(handoff).is_ok(),
        };
        match given {
            true => warp::reply::stream(chunks(body)).into_response(),
            false => Problem::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "this instance stops or is too busy; try another, or later",
            )
            .into_response(),
        }
    }
}

/// Reads a session's end of the pipe piece by piece, as the stream that warp makes a body of. The
/// stream ends when the session closes its end.
fn chunks(
    body: DuplexStream,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send {
    futures_util::stream::try_unfold(body, |mut body| async move {
        let mut piece = bytes::BytesMut::new();
        let read = tokio::io::AsyncReadExt::read_buf(&mut body, &mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), body)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Mount = Mount {
        path: "/x",
        websocket: &[],
        routes: None,
    };

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        static TWICE: &[&Encoding] = &[&NATIVE, &NATIVE];
        let twice = Mount {
            websocket: TWICE,
            ..NOTHING
        };
        let slash = Mount {
            path: "x",
            ..NATIVE_MOUNT
        };
        for (mount, reason) in [
            (NOTHING, "nothing is mounted"),
            (twice, "twice"),
            (NATIVE_MOUNT, "mounted twice"),
            (slash, "slash"),
        ] {
            let error = Mounts::with(&[mount]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Mounts::default().websocket_at("/ws").is_some());
        assert!(Mounts::default().websocket_at("/ws/").is_none());
    }

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let mounts = Mounts::default();
        let mount = mounts.websocket_at("/ws").unwrap();
        let own = NATIVE.format.subprotocol();
        let chosen = |offers: &[&'static str]| mount.negotiated(offers.iter().copied()).0;
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&["other"]), None);
        assert_eq!(chosen(&["other", own]), Some(own));
        assert_eq!(chosen(&[&*format!("a, {own}").leak()]), Some(own));
    }
}
