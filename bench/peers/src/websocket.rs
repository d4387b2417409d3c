//! A WebSocket client that needs little CPU time, so that the load does not become the limit: whole texts, no extensions,
//! and a mask of zeros, which leaves the bytes as they are.

use std::{io, net::SocketAddr, ops::Range};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Failure;

/// The opcodes of the frames that are used here (RFC 6455, section 5.2).
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
const PONG: u8 = 10;

/// A socket while its subscriptions are made, and the bytes that were read but not yet used.
pub(crate) struct Opening {
    pub(crate) stream: TcpStream,
    pub(crate) rest: Vec<u8>,
}

impl Opening {
    /// Makes the handshake (RFC 6455, section 4.1). The server's answer to the key is not checked.
    pub(crate) async fn connect(address: SocketAddr, path: &str) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut rest = Vec::new();
        let end = loop {
            // The head ends at the first empty line; what follows are frames already.
            if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut rest).await? == 0 {
                return Err(format!("{address} closed the connection").into());
            }
        };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 101") {
            return Err(format!("{address} is no WebSocket: {head}").into());
        }
        rest.drain(..end);
        Ok(Self { stream, rest })
    }

    /// Sends a text.
    pub(crate) async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&frame(TEXT, text.as_bytes())).await
    }

    /// Returns the next text.
    ///
    /// # Errors
    ///
    /// The server closes, by a frame or without.
    pub(crate) async fn hear(&mut self) -> Result<String, Failure> {
        loop {
            if let Some((kind, payload, end)) = next(&self.rest) {
                let text = String::from_utf8_lossy(&self.rest[payload]).into_owned();
                self.rest.drain(..end);
                match kind {
                    TEXT => return Ok(text),
                    CLOSE => return Err(format!("the server ended it: {text}").into()),
                    // A ping in between is left unanswered: opening takes less than any server's
                    // patience.
                    _ => continue,
                }
            }
            if self.stream.read_buf(&mut self.rest).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

/// Returns opcode, payload and end of the first frame, or nothing if it is not complete yet.
pub(crate) fn next(bytes: &[u8]) -> Option<(u8, Range<usize>, usize)> {
    // FIN is not looked at: no server here sends fragments.
    let kind = bytes.first()? & 0x0f;
    let (start, length) = match *bytes.get(1)? & 0x7f {
        126 => {
            let length = bytes.get(2..4)?.try_into().ok()?;
            (4, usize::from(u16::from_be_bytes(length)))
        }
        127 => {
            let length = bytes.get(2..10)?.try_into().ok()?;
            (10, usize::try_from(u64::from_be_bytes(length)).ok()?)
        }
        short => (2, usize::from(short)),
    };
    let end = start + length;
    (bytes.len() >= end).then_some((kind, start..end, end))
}

/// Returns a client's frame.
/// Masked with zeros (RFC 6455, section 5.3, asks for a mask, and not for a good one between two
/// programs of one machine).
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | kind];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        middle @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    // The mask.
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Sends a whole frame, however slowly the server reads.
pub(crate) async fn send(stream: &TcpStream, mut frame: &[u8]) -> io::Result<()> {
    while !frame.is_empty() {
        match stream.try_write(frame) {
            // A frame must not be torn apart by another one, so this waits for the rest.
            Ok(count) => frame = &frame[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the frame that answers a ping.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = frame(TEXT, &vec![b'x'; length]);
            let header = bytes.len() - length;
            // As a server sends it: without the bit and the bytes of the mask.
            bytes[1] &= 0x7f;
            bytes.drain(header - 4..header);
            let end = bytes.len();
            assert_eq!(next(&bytes), Some((TEXT, end - length..end, end)));
            assert_eq!(next(&bytes[..end - 1]), None);
        }
    }
}
