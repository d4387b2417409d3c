//! The client for requests of the hub's own, to URLs from its configuration: it asks the operator's
//! backend, and fetches key sets.
//!
//! What must hold, for each request: the address is checked and is the one that is connected to; no
//! redirect is followed and no proxy of the environment used; time and size are limited; and
//! nothing of a request or an answer but the server's name gets into an error. This module must not
//! know what is asked, or of whom.

mod address;
mod connector;
mod roots;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time;

pub(crate) use self::connector::Lookup;
use self::connector::{CheckedLookup, Connector, RefusedAddress};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a connection without a request is kept, in seconds.
const IDLE: Duration = Duration::from_secs(60);
/// The most bytes of an answer's header.
const HEADER_BYTES: usize = 16 * 1024;

/// What the client may do.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// True if plain `http` and addresses inside of the own network are allowed.
    pub allow_private: bool,
    /// A PEM file of the authorities that are trusted, and no others; without it the system's.
    pub ca: Option<PathBuf>,
    /// How long opening one connection may take, with name and TLS.
    pub connect_timeout: Duration,
    /// The largest body of an answer in bytes.
    pub answer_bytes: usize,
    /// The most connections to one server that are kept while nothing is asked.
    pub idle_connections: usize,
}

/// The URL of a server that the client may ask. Shown without path and query, which may hold a
/// secret.
#[derive(Clone)]
pub struct Target {
    uri: Uri,
    origin: Arc<str>,
}

impl Target {
    /// Returns scheme, host and port, for messages to people.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundError {
    /// The address is not allowed; the text names the host and the kind of address.
    Refused(String),
    /// There was no connection, or it ended before the answer did. Asking again may help.
    Connection(String),
    /// The time was over before the answer was complete.
    Timeout,
    /// The answer has more bytes than [`OutboundConfig::answer_bytes`].
    TooLarge,
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the address is refused: {why}"),
            Self::Connection(why) => write!(f, "the connection failed: {why}"),
            Self::Timeout => f.write_str("there was no complete answer in time"),
            Self::TooLarge => f.write_str("the answer is too large"),
        }
    }
}

impl std::error::Error for OutboundError {}

/// An HTTP/1.1 client that keeps its connections. Clones share them.
#[derive(Clone)]
pub struct Outbound {
    client: Client<Connector, Full<Bytes>>,
    allow_private: bool,
    answer_bytes: usize,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("allow_private", &self.allow_private)
            .field("answer_bytes", &self.answer_bytes)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// Makes a client that looks names up as the operating system does.
    ///
    /// # Errors
    /// A sentence: the file of authorities can't be read, or the system has none.
    pub fn new(config: &OutboundConfig) -> Result<Self, String> {
        Self::with_lookup(config, connector::system_lookup())
    }

    /// Makes a client with a look-up of its own.
    pub(crate) fn with_lookup(config: &OutboundConfig, lookup: Lookup) -> Result<Self, String> {
        let tls = roots::client_config(config.ca.as_deref())?;
        let lookup = CheckedLookup::new(lookup, config.allow_private);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.idle_connections)
            .http1_max_buf_size(HEADER_BYTES)
            .build(Connector::new(lookup, tls, config.connect_timeout));
        Ok(Self {
            client,
            allow_private: config.allow_private,
            answer_bytes: config.answer_bytes,
        })
    }

    /// Reads a URL. It is the only way to a [`Target`], so none escapes the check of an address that
    /// stands in the URL itself. Names are checked at each connection.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without path, query and credentials.
    pub fn target(&self, url: &str) -> Result<Target, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("the URL can't be read: {error}"))?;
        let authority = uri
            .authority()
            .ok_or("the URL needs a scheme and a host: https://…")?;
        if authority.as_str().contains('@') {
            return Err("the URL holds credentials; requests are signed instead".to_owned());
        }
        let scheme = uri.scheme().unwrap_or(&Scheme::HTTPS);
        let origin = format!("{scheme}://{authority}");
        if *scheme == Scheme::HTTP && !self.allow_private {
            return Err(format!(
                "{origin}: plain http needs allow_private = true; use https"
            ));
        }
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(format!("{origin}: the scheme must be https"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if let Ok(ip) = host.parse() {
            connector::check(host, ip, self.allow_private).map_err(|error| error.to_string())?;
        }
        let origin = origin.into();
        Ok(Target { uri, origin })
    }

    /// Sends a request to the target, which takes the place of the request's own URL. Returns the
    /// whole answer, whatever its status: a redirect too is an answer like any other.
    ///
    /// Stops when it is dropped; the connection is then closed.
    ///
    /// # Errors
    /// There is no answer in this time and size, or the address is refused.
    pub async fn send(
        &self,
        target: &Target,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Response<Bytes>, OutboundError> {
        let mut request = request.map(Full::new);
        *request.uri_mut() = target.uri.clone();
        let answered = time::timeout(within, self.exchange(request));
        answered.await.unwrap_or(Err(OutboundError::Timeout))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, OutboundError> {
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| failure(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, self.answer_bytes).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => OutboundError::TooLarge,
            false => failure(&*error),
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// Sorts an error of the HTTP library by its causes, and keeps the last cause's text, which says
/// most.
fn failure(error: &(dyn std::error::Error + 'static)) -> OutboundError {
    let mut last = error;
    loop {
        if let Some(refused) = last.downcast_ref::<RefusedAddress>() {
            return OutboundError::Refused(refused.to_string());
        }
        match last.source() {
            Some(cause) => last = cause,
            None => return OutboundError::Connection(last.to_string()),
        }
    }
}
