//! Clients: a WebSocket by a library, a raw one for what a library would not send, and plain HTTP.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

/// How long anything may take on a busy machine; what takes longer fails the test.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A client of the native protocol.
pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What came.
#[derive(Debug)]
pub(crate) enum Came {
    Json(Value),
    Closed(Option<CloseFrame>),
}

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Self {
        Self::attempt(address, query, headers).await.unwrap()
    }

    /// Connects, or returns why that failed: some tests expect it.
    pub(crate) async fn attempt(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://{address}/ws{query}").into_client_request()?;
        for &(name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        Ok(Self(connect_async(request).await?.0))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text, or the end. Pings are answered by the library.
    pub(crate) async fn come(&mut self) -> Came {
        self.come_within(SOON).await
    }

    /// The same with a limit; nothing in time fails the test.
    pub(crate) async fn come_within(&mut self, limit: Duration) -> Came {
        loop {
            match timeout(limit, self.0.next())
                .await
                .expect("something comes in time")
            {
                Some(Ok(Message::Text(text))) => {
                    return Came::Json(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => return Came::Closed(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Came::Closed(None),
            }
        }
    }

    /// The next text as JSON; an end fails the test.
    pub(crate) async fn json(&mut self) -> Value {
        match self.come().await {
            Came::Json(json) => json,
            Came::Closed(frame) => panic!("closed: {frame:?}"),
        }
    }

    /// Sends and takes the next that comes.
    pub(crate) async fn ask(&mut self, text: &str) -> Value {
        self.send(text).await;
        self.json().await
    }

    /// The close code, after whatever comes before it.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let Came::Closed(frame) = self.come_within(Duration::from_secs(20)).await {
                return frame.map_or(0, |frame| frame.code.into());
            }
        }
    }
}

/// An HTTP answer: status and body.
///
/// The connection is closed after it, so the answer ends with it.
pub(crate) async fn http(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A server that refuses early may not read it all.
    _ = stream.write_all(request.as_bytes()).await;
    answer(&mut stream).await
}

/// Reads an HTTP answer up to the connection's end.
pub(crate) async fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut got = Vec::new();
    _ = timeout(SOON * 2, stream.read_to_end(&mut got))
        .await
        .expect("an answer in time");
    let text = String::from_utf8_lossy(&got).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), body.to_owned())
}

/// `POST /v1/publish`, with more header lines.
pub(crate) async fn publish(address: SocketAddr, headers: &str, body: &str) -> (u16, Value) {
    ask(address, "POST /v1/publish", headers, body).await
}

/// A request with a JSON body or none, with more header lines: status and the answer's JSON.
pub(crate) async fn ask(
    address: SocketAddr,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    _ = stream.write_all(request.as_bytes()).await;
    let (status, body) = answer(&mut stream).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// A WebSocket whose frames are made by hand.
///
/// For what no library would send: wrong lengths, missing masks, unfinished messages.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr, query: &str) -> Self {
        Self::connect_with(address, query, "").await
    }

    /// With more header lines, each with its end.
    pub(crate) async fn connect_with(address: SocketAddr, query: &str, headers: &str) -> Self {
        Self::upgrade(address, query, headers, &[]).await
    }

    /// With bytes that are sent in the same packet as the request.
    pub(crate) async fn connect_with_early(address: SocketAddr, early: &[u8]) -> Self {
        Self::upgrade(address, "", "", early).await
    }

    /// Makes the handshake; fails the test if the hub refuses it.
    async fn upgrade(address: SocketAddr, query: &str, headers: &str, early: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /ws{query} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        let all = [request.as_bytes(), early].concat();
        stream.write_all(&all).await.unwrap();
        // Byte by byte, so that no frame behind the head is read with it.
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            got.push(stream.read_u8().await.unwrap());
        }
        assert!(
            got.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&got)
        );
        Self(stream)
    }

    /// Opcode, and payload, of the next server frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        // Flags are left out: a hub sends no fragments.
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.ok()? {
                126 => usize::from(self.0.read_u16().await.ok()?),
                127 => self.0.read_u64().await.ok()? as usize,
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first & 0x0f, payload))
        };
        // Longer than the time between two pings.
        timeout(Duration::from_secs(40), read)
            .await
            .expect("a frame in time")
    }

    /// The code of the close frame that comes, 0 for none.
    pub(crate) async fn close_code(&mut self) -> u16 {
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == 8 {
                return payload
                    .first_chunk()
                    // 1005 stands for a close frame without a code (RFC 6455, section 7.4.1).
                    .map_or(1005, |code| u16::from_be_bytes(*code));
            }
        }
        0
    }
}

/// A masked client frame; `first` holds the flags and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    // A mask that changes every byte, so that unmasking is tried.
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}
