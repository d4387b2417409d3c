//! Server frames: never masked, never fragmented.

use bytes::Bytes;
use hubplane_hub::{
    command::{Ending, Push, Reply},
    frame::{Encoding, Frame},
};
use hubplane_protocol::{Protocol, json::JSON};

use super::header::{self, MOST_BYTES, Opcode};

/// Longest reason in a close frame (RFC 6455, 5.5).
const REASON: usize = 123;

/// A client format inside text frames.
#[derive(Debug)]
struct Text(&'static dyn Protocol);

static NATIVE: Text = Text(&JSON);

/// The encoding and protocol for a subprotocol that a client offers; without one it is the native protocol.
pub(crate) fn encoding_for(
    subprotocol: Option<&str>,
) -> Option<(&'static dyn Encoding, &'static dyn Protocol)> {
    let known = [&NATIVE];
    let text = known
        .into_iter()
        .find(|text| subprotocol.is_none_or(|name| name == text.0.subprotocol()))?;
    Some((text, text.0))
}

impl Encoding for Text {
    fn slot(&self) -> usize {
        self.0.slot()
    }

    fn reply(&self, reply: &Reply<'_>) -> Frame {
        frame(Opcode::Text, |out| self.0.reply(reply, out))
    }

    fn push(&self, push: &Push<'_>) -> Frame {
        frame(Opcode::Text, |out| self.0.push(push, out))
    }

    fn ping(&self) -> Frame {
        Bytes::from_static(&[0x89, 0])
    }

    fn ending(&self, ending: Ending) -> Frame {
        let (code, reason) = match ending {
            Ending::Slow => (
                1013,
                "too slow: messages were dropped; connect again and resume",
            ),
            Ending::NoPong => (3012, "no answer to a ping"),
            Ending::Restart => (1012, "this instance stops; connect again"),
            Ending::Failed => (1011, "the server failed"),
        };
        close(code, reason)
    }
}

/// A close frame with a code and a reason.
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

/// A close frame without a code.
pub(super) const fn bare_close() -> Frame {
    Bytes::from_static(&[0x88, 0])
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Frame {
    frame(Opcode::Pong, |out| out.extend_from_slice(payload))
}

/// Writes the payload behind room for the header, then the header right before it: one buffer, no copy.
fn frame(opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&[0; MOST_BYTES]);
    write(&mut out);
    let length = (out.len() - MOST_BYTES) as u64;
    let room = out.first_chunk_mut();
    let room = room.expect("invariant: the buffer begins with room for a header");
    let start = header::write(opcode, length, room);
    Bytes::from(out).slice(start..)
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
