//! Which client formats are spoken at which path.
//!
//! The native protocol is one entry of the table, at `/ws`. A format may share a path with others, chosen by the WebSocket
//! subprotocol, or have a path of its own; it may bring HTTP routes, and sessions whose messages are the body of an HTTP
//! response instead of a WebSocket.

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

/// Routes as a warp filter.
pub type Routes = BoxedFilter<(Response,)>;

/// Bytes of a response's body that wait for its client; then the session's outbox fills.
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

/// The native protocol.
const NATIVE_MOUNT: Mount = Mount {
    path: "/ws",
    websocket: NATIVE_FORMATS,
    routes: None,
};
static NATIVE_FORMATS: &[&Encoding] = &[&NATIVE];

/// A table of mounts, checked; cheap to clone. By default it is the native protocol at `/ws`.
#[derive(Clone, Debug)]
pub struct Mounts(Arc<[Mount]>);

impl Default for Mounts {
    fn default() -> Self {
        Self(Arc::new([NATIVE_MOUNT]))
    }
}

impl Mounts {
    /// The native protocol, and these besides.
    ///
    /// # Errors
    /// A sentence: a path or one of its subprotocols is there twice, a path does not begin with a slash, or nothing is
    /// mounted there.
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

    /// The mount with a WebSocket at this path.
    pub(super) fn websocket_at(&self, path: &str) -> Option<&Mount> {
        let mut all = self.0.iter();
        all.find(|mount| mount.path == path && !mount.websocket.is_empty())
    }

    /// All routes that the mounts bring.
    pub(super) fn routes(&self, context: &Context) -> Vec<Routes> {
        let with = self.0.iter().filter_map(|mount| mount.routes);
        with.map(|routes| routes(Mounted(context.clone())))
            .collect()
    }
}

impl Mount {
    /// The first subprotocol of the client's that is known here. A client that offers none, or only others, is spoken to in
    /// the first format; the latter finds no subprotocol in the answer and may leave.
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

/// What a mount's own routes are given: the hub, and what a request may do there.
#[derive(Clone)]
pub struct Mounted(Context);

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mounted")
    }
}

impl Mounted {
    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    /// What a request may do, which the route must ask.
    ///
    /// # Errors
    /// 401: the request shows a key that is none.
    pub fn grant(&self, headers: &HeaderMap) -> Result<Grant, Problem> {
        self.0.grant(headers)
    }

    /// Opens a session whose messages are the body of this answer, until the client goes away or the hub ends it. It is
    /// subscribed to the channels at once, if the grant allows it; the client can send nothing.
    pub async fn stream(
        &self,
        grant: Grant,
        encoding: &'static Encoding,
        channels: Vec<String>,
    ) -> Response {
        let (body, pipe) = duplex(BODY_BYTES);
        let negotiated = Negotiated {
            encoding,
            grant,
            with_key: false,
            channels,
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

/// What a session writes, piece by piece.
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
