//! How a client connects: its options with their defaults, and one attempt at a connection.
//!
//! Whether and when to try again is decided in `connection`, not here.

use std::{fmt, future::Future, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

use super::{Backoff, Error, proof::Source};

/// An open WebSocket. Never TLS here: `request` refuses such addresses.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How a client connects, and its limits.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The hubs, as `http://host:port` or `ws://host:port/ws`; each attempt takes the next.
    pub urls: Vec<String>,
    /// Headers of the handshake, such as `authorization`.
    pub headers: HeaderMap,
    /// The delays between attempts to connect.
    pub backoff: Backoff,
    /// How long making a connection may take, and each write to it. 10 s by default.
    pub connect_timeout: Duration,
    /// The client pings the hub after this long without any message. 30 s by default.
    pub idle: Duration,
    /// How long the hub may take to answer a ping; then the client takes the connection for dead. 10 s by default.
    pub pong: Duration,
    /// How long a publish waits for its acknowledgement, new connections and repetitions included. 30 s by default.
    pub publish_timeout: Duration,
    /// How many events may wait to be taken; with more, the client reads nothing from the hub. 1,024 by default.
    pub events: usize,
    /// How many publishes may wait for their acknowledgement; one more fails with [`Error::Full`]. 1,000 by default.
    pub publishes: usize,
    /// How many bytes these publishes may have together. 4 MiB by default.
    pub publish_bytes: usize,
    /// How many bytes one publish may have, all fields together. 64 KiB by default, as on the hub: the hub ends a
    /// connection that sends more.
    pub message_bytes: usize,
    /// How many message ids the client remembers for each channel to drop repetitions. 1,000 by default.
    pub remember: usize,
    /// See [`Options::token`].
    pub(super) token: Option<Source>,
}

impl Options {
    /// Returns the defaults, for these hubs.
    pub fn new<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            headers: HeaderMap::new(),
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            events: 1_024,
            publishes: 1_000,
            publish_bytes: 4 * 1024 * 1024,
            message_bytes: 64 * 1024,
            remember: 1_000,
            token: None,
        }
    }

    /// Shows the hub a token or a key on each connection, before all else; the function fetches it. It is called before
    /// each connection, when the hub says that the token is about to end, and once more when the hub did not accept one.
    /// If it fails, or takes longer than [`Options::connect_timeout`], it is called again, with growing delays. When the
    /// hub does not accept the second one either, the client ends with [`Event::Unauthorized`](super::Event).
    #[must_use]
    pub fn token<F, T, E>(mut self, fetch: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.token = Some(Source::function(fetch));
        self
    }

    /// Shows the hub this token or key on each connection, before all else. When it ends there is no other, and the
    /// client ends with [`Event::Unauthorized`](super::Event).
    #[must_use]
    pub fn fixed_token(mut self, token: &str) -> Self {
        self.token = Some(Source::Fixed(token.into()));
        self
    }

    /// Returns the handshake for each address.
    ///
    /// # Errors
    /// [`Error::Options`] with the address that is wrong, or if there is none.
    pub(super) fn requests(&self) -> Result<Vec<Request<()>>, Error> {
        if self.urls.is_empty() {
            return Err(Error::Options("no hub is named".to_owned()));
        }
        self.urls.iter().map(|url| self.request(url)).collect()
    }

    fn request(&self, url: &str) -> Result<Request<()>, Error> {
        let wrong = |error: &dyn fmt::Display| Error::Options(format!("{url}: {error}"));
        let address = match url.strip_prefix("http://") {
            Some(rest) => format!("ws://{}/ws", rest.trim_end_matches('/')),
            None if url.starts_with("ws://") => url.to_owned(),
            None => return Err(wrong(&"give http://host:port")),
        };
        let mut request = address
            .into_client_request()
            .map_err(|error| wrong(&error))?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("hubplane.v1.json"),
        );
        Ok(request)
    }
}

/// Leaves the headers out: one of them holds the key.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("urls", &self.urls)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// Makes one attempt to connect, of at most `limit`.
///
/// # Errors
/// [`Error::Denied`] if the hub answers and refuses, and otherwise [`Error::Connect`].
pub(super) async fn connect(request: &Request<()>, limit: Duration) -> Result<Socket, Error> {
    match timeout(limit, connect_async(request.clone())).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer))) => Err(refused(&answer)),
        Ok(Err(error)) => Err(Error::Connect(error.to_string())),
        Err(_) => Err(Error::Connect(format!("no answer within {limit:?}"))),
    }
}

/// Reads the answer of a hub that refuses the handshake: a problem document (RFC 9457) says why.
fn refused(answer: &Response<Option<Vec<u8>>>) -> Error {
    let body = answer.body().as_deref().unwrap_or_default();
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("it gives no reason");
    Error::Denied {
        status: answer.status().as_u16(),
        detail: detail.into(),
    }
}
