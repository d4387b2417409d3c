//! A client that costs next to nothing: raw TCP, frames counted by their heads. Thousands of these fit into one process.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use crate::Result;

/// For a handshake.
const SOON: Duration = Duration::from_secs(30);

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Read and not yet taken.
    rest: Vec<u8>,
}

/// One frame of a hub.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

// Opcodes are those of RFC 6455, section 5.2: 1 text, 8 close, 9 ping, 10 pong.
impl Frame {
    /// The status of a close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        (self.opcode == 8).then(|| u16::from_be_bytes([code[0], code[1]]))
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl Socket {
    /// Connects; `query` is the path's, such as `?channel=a`.
    pub(crate) async fn connect(hub: SocketAddr, query: &str) -> Result<Self> {
        Self::upgrade(TcpStream::connect(hub).await?, hub, query).await
    }

    /// The kernel keeps little for it, so that what it doesn't read stays with the hub.
    pub(crate) async fn with_little_room(hub: SocketAddr, query: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        Self::upgrade(socket.connect(hub).await?, hub, query).await
    }

    /// Makes the handshake; the hub's answer to the key is not checked.
    async fn upgrade(mut stream: TcpStream, hub: SocketAddr, query: &str) -> Result<Self> {
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /ws{query} HTTP/1.1\r\nhost: {hub}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut rest = Vec::with_capacity(512);
        let end = Instant::now() + SOON;
        let head = loop {
            if let Some(at) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if timeout_at(end, stream.read_buf(&mut rest)).await?? == 0 {
                return Err("the hub closed in the handshake".into());
            }
        };
        if !rest.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&rest).into_owned().into());
        }
        rest.drain(..head);
        Ok(Self { stream, rest })
    }

    /// Sends one masked frame. The mask is zero, which is a mask.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            // Nothing here sends more than 65,535 bytes.
            length => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Sends a text.
    pub(crate) async fn text(&mut self, text: &str) -> Result<()> {
        self.send(1, text.as_bytes()).await
    }

    /// The next frame; `None` once the connection is over or none comes in time.
    pub(crate) async fn next(&mut self, limit: Duration) -> Option<Frame> {
        let end = Instant::now() + limit;
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let read = timeout_at(end, self.stream.read_buf(&mut self.rest)).await;
            match read {
                Ok(Ok(count)) if count > 0 => {}
                _ => return None,
            }
        }
    }

    /// The next text frame; pings are answered on the way.
    pub(crate) async fn next_text(&mut self, limit: Duration) -> Option<String> {
        let end = Instant::now() + limit;
        loop {
            // The limit is for the whole wait, not for each frame.
            let left = end.saturating_duration_since(Instant::now());
            let frame = self.next(left).await?;
            match frame.opcode {
                1 => return Some(frame.text()),
                9 => self.send(10, &frame.payload).await.ok()?,
                8 => return None,
                _ => {}
            }
        }
    }

    /// Reads until the hub closes; its code, where it said one.
    pub(crate) async fn closed(&mut self, limit: Duration) -> Option<u16> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let frame = self.next(left).await?;
            if frame.opcode == 8 {
                return frame.code();
            }
        }
    }

    /// Takes the first frame that is there in full.
    fn take(&mut self) -> Option<Frame> {
        let head = *self.rest.first()?;
        let (start, length) = match *self.rest.get(1)? & 0x7f {
            126 => {
                let two = self.rest.get(2..4)?;
                (4, usize::from(u16::from_be_bytes([two[0], two[1]])))
            }
            127 => {
                let eight: [u8; 8] = self.rest.get(2..10)?.try_into().ok()?;
                (10, u64::from_be_bytes(eight) as usize)
            }
            short => (2, usize::from(short)),
        };
        let payload = self.rest.get(start..start + length)?.to_vec();
        self.rest.drain(..start + length);
        // An empty buffer gives its memory back: thousands of clients wait most of the time.
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Some(Frame {
            opcode: head & 0x0f,
            payload,
        })
    }
}
