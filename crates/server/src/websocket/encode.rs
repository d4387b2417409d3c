//! The frames that the server writes: never masked (RFC 6455, 5.1), never fragmented.
//!
//! The frame of a message is made once for each format and shared by all sessions that it goes to,
//! so nothing of one session may be in it.

use bytes::Bytes;
use hubplane_hub::frame::{Encoding, Frame, Framing};
use hubplane_protocol::{Close, json::JSON};

use super::header::{self, MOST_BYTES, Opcode};

/// Longest reason in a close frame (RFC 6455, 5.5).
const REASON: usize = 123;

/// The framing of a WebSocket: each message is one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct WebSocket;

/// The native protocol in WebSocket frames. Its address tells it from other encodings, so there is
/// one of it.
pub(crate) static NATIVE: Encoding = Encoding {
    format: &JSON,
    framing: &WebSocket,
};

impl Framing for WebSocket {
    /// How many bytes a format leaves free in front of a payload. The header is written into them.
    fn room(&self) -> usize {
        MOST_BYTES
    }

    /// Makes a frame of `buffer`: the header is written right before the payload, so the payload is
    /// not copied. `tail` more bytes of the payload follow in a buffer of their own.
    fn frame(&self, binary: bool, buffer: Vec<u8>, tail: usize) -> Frame {
        let kind = if binary { Opcode::Binary } else { Opcode::Text };
        with_header(kind, buffer, tail)
    }

    fn ping(&self) -> Frame {
        Bytes::from_static(&[0x89, 0])
    }

    fn close(&self, Close { code, reason }: &Close) -> Frame {
        close(*code, reason)
    }
}

/// Returns a close frame with a code and a reason. A reason that is too long is cut at a
/// character's end.
pub(super) fn close(code: u16, reason: &str) -> Frame {
    let mut end = reason.len().min(REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    frame(Opcode::Close, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&reason.as_bytes()[..end]);
    })
}

/// Returns a close frame without a code, the answer to one without a code.
pub(super) const fn bare_close() -> Frame {
    Bytes::from_static(&[0x88, 0])
}

/// Returns the answer to a ping, with the ping's payload (RFC 6455, 5.5.3).
pub(super) fn pong(payload: &[u8]) -> Frame {
    frame(Opcode::Pong, |out| out.extend_from_slice(payload))
}

/// Makes a frame whose payload `write` writes.
fn frame(opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
    let mut out = vec![0; MOST_BYTES];
    write(&mut out);
    with_header(opcode, out, 0)
}

/// Makes a frame of a payload that stands behind room for the header. `tail` more bytes of its payload follow it.
fn with_header(opcode: Opcode, mut buffer: Vec<u8>, tail: usize) -> Frame {
    let length = (buffer.len() - MOST_BYTES + tail) as u64;
    let room = buffer.first_chunk_mut();
    let room = room.expect("invariant: the buffer begins with room for a header");
    let start = header::write(opcode, length, room);
    Bytes::from(buffer).slice(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_shortest_length() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = frame(Opcode::Text, |out| out.resize(MOST_BYTES + length, b'x'));
            assert_eq!(frame.len(), header + length);
            assert_eq!(frame[0], 0x81);
        }
        assert_eq!(&close(1000, "bye")[..], b"\x88\x05\x03\xe8bye");
        assert_eq!(close(1000, &"é".repeat(100)).len(), 2 + 2 + 122);
        assert_eq!(&pong(b"x")[..], b"\x8a\x01x");
    }
}
