//! What a client is told at its start.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

use super::{Backoff, Error};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How a client connects, and its limits.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The hubs, as `http://host:port` or `ws://host:port/ws`; each attempt takes the next.
    pub urls: Vec<String>,
    /// Sent with the handshake.
    pub headers: HeaderMap,
    /// Between attempts.
    pub backoff: Backoff,
    /// For a connection to be made, and for each write.
    pub connect_timeout: Duration,
    /// After this long without any message the hub is pinged.
    pub idle: Duration,
    /// For its answer.
    pub pong: Duration,
    /// For the acknowledgement of a publish, new connections and repetitions included.
    pub publish_timeout: Duration,
    /// Events that wait for whoever takes them; while it is full, nothing is read from the hub.
    pub events: usize,
    /// Publishes that wait for their acknowledgement.
    pub publishes: usize,
    /// Their bytes.
    pub publish_bytes: usize,
    /// Of one publish, all fields together, as the hub takes it.
    pub message_bytes: usize,
    /// Ids of each channel that are remembered to drop repetitions.
    pub remember: usize,
}

impl Options {
    /// The defaults, for these hubs.
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
        }
    }

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

/// Without the headers' values: the key is among them.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("urls", &self.urls)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

pub(super) async fn connect(request: &Request<()>, limit: Duration) -> Result<Socket, Error> {
    match timeout(limit, connect_async(request.clone())).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer))) => Err(refused(&answer)),
        Ok(Err(error)) => Err(Error::Connect(error.to_string())),
        Err(_) => Err(Error::Connect(format!("no answer within {limit:?}"))),
    }
}

/// What a hub says that answers the handshake with a problem document instead of a WebSocket.
fn refused(answer: &Response<Option<Vec<u8>>>) -> Error {
    let body = answer.body().as_deref().unwrap_or_default();
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("it gives no reason");
    Error::Denied {
        status: answer.status().as_u16(),
        detail: detail.into(),
    }
}
