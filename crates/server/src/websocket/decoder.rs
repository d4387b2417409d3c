//! Client frames, put together to messages. Everything that RFC 6455 forbids is refused with its
//! close code (7.4.1).
//!
//! What must hold: a header is checked before its payload is waited for, so nobody collects a
//! payload or a message that is too large. What a message says is not known here.

use hubplane_hub::Limits;

use super::header::{Header, Opcode};

/// What a client sent, borrowed from the bytes that were read where that is possible.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    /// A whole text message, checked to be UTF-8.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with the same bytes.
    Ping(&'a [u8]),
    /// An answer to a ping.
    Pong,
    /// The closing handshake, with the client's code if it gave one.
    Close(Option<u16>),
}

/// A breach of the protocol, with the close code and the reason to end the session with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

/// A violation with the code 1002, protocol error.
const fn protocol(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}

const NOT_UTF8: Violation = Violation {
    code: 1007,
    reason: "text is not UTF-8",
};
const TOO_LARGE: Violation = Violation {
    code: 1009,
    reason: "the message is too large",
};
const TOO_MANY: Violation = Violation {
    code: 1008,
    reason: "too many fragments in one message",
};

/// Keeps what is not yet a whole message. It owns no memory while it waits for nothing, as an idle
/// client's does.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The start of a frame that is not there in full.
    rest: Vec<u8>,
    /// Inside a fragmented message: what there is of it.
    fragmented: Option<Box<Fragments>>,
}

/// The beginning of a fragmented message (RFC 6455, 5.4). It is boxed, so that a client which never
/// fragments pays one pointer for it.
#[derive(Debug)]
struct Fragments {
    text: bool,
    count: usize,
    message: Vec<u8>,
}

/// What a call of [`Decoder::feed`] has used up: bytes of the stream, and whole frames. The budget
/// counts both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) bytes: usize,
    pub(super) frames: usize,
}

impl Decoder {
    /// Returns a decoder that begins with bytes which came together with the handshake. They may
    /// hold whole frames.
    pub(super) fn starting_with(early: &[u8]) -> Self {
        Self {
            rest: early.to_vec(),
            fragmented: None,
        }
    }

    /// Takes bytes as they came, and hands over each message that is complete. If `on` returns
    /// false, this stops and keeps the rest for the next call. `input` is changed: payloads are
    /// unmasked where they are.
    ///
    /// # Errors
    /// The client did what it may not. Nothing after that can be read any more.
    pub(super) fn feed(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on: &mut dyn FnMut(Received<'_>) -> bool,
    ) -> Result<Used, Violation> {
        // The usual case: messages are read straight from the thread's buffer, and nothing is
        // copied.
        if self.rest.is_empty() {
            let used = self.frames(input, limits, on)?;
            self.rest.extend_from_slice(&input[used.bytes..]);
            return Ok(used);
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(input);
        let used = self.frames(&mut all, limits, on)?;
        // An emptied buffer is dropped rather than kept for the next message.
        if used.bytes < all.len() {
            all.drain(..used.bytes);
            self.rest = all;
        }
        Ok(used)
    }

    /// How many bytes are kept for what is not finished. They count for the limit
    /// `unfinished_bytes` of all clients.
    pub(super) fn kept(&self) -> usize {
        let begun = self.fragmented.as_ref();
        self.rest.len() + begun.map_or(0, |it| it.message.len())
    }

    /// Returns true if what was kept holds a whole frame, or a header that is a violation:
    /// [`Decoder::feed`] then makes progress without more bytes.
    pub(super) fn has_frame(&self) -> bool {
        match Header::parse(&self.rest) {
            Ok(None) => false,
            Ok(Some(header)) => (self.rest.len() - header.bytes) as u64 >= header.length,
            Err(_) => true,
        }
    }

    /// Hands over the whole frames of `input`, and returns how much that was. It stops at the first
    /// frame that is not there in full.
    fn frames(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on: &mut dyn FnMut(Received<'_>) -> bool,
    ) -> Result<Used, Violation> {
        let mut used = Used::default();
        loop {
            let parsed = Header::parse(&input[used.bytes..]).or(Err(protocol("unknown opcode")))?;
            let Some(header) = parsed else {
                return Ok(used);
            };
            let start = used.bytes + header.bytes;
            self.check(&header, limits)?;
            let length = usize::try_from(header.length).or(Err(TOO_LARGE))?;
            if input.len() - start < length {
                return Ok(used);
            }
            let payload = &mut input[start..start + length];
            unmask(payload, header.mask.unwrap_or_default());
            used.bytes = start + length;
            used.frames += 1;
            if !self.frame(&header, payload, on)? {
                return Ok(used);
            }
        }
    }

    /// Checks all that a header alone can do wrong, before any payload is waited for.
    fn check(&self, header: &Header, limits: &Limits) -> Result<(), Violation> {
        if header.reserved {
            return Err(protocol("reserved bits are set"));
        }
        if header.mask.is_none() {
            return Err(protocol("a client's frames are masked"));
        }
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                if !header.is_final {
                    return Err(protocol("a control frame is fragmented"));
                }
                if header.length > 125 {
                    return Err(protocol("a control frame has more than 125 bytes"));
                }
                Ok(())
            }
            Opcode::Continuation if self.fragmented.is_none() => {
                Err(protocol("a continuation without a beginning"))
            }
            Opcode::Text | Opcode::Binary if self.fragmented.is_some() => {
                Err(protocol("a message begins inside another"))
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                let begun = self.fragmented.as_ref();
                let (bytes, count) = begun.map_or((0, 0), |it| (it.message.len(), it.count));
                if header.length.saturating_add(bytes as u64) > limits.message_bytes as u64 {
                    return Err(TOO_LARGE);
                }
                if count >= limits.fragments {
                    return Err(TOO_MANY);
                }
                Ok(())
            }
        }
    }

    /// Takes one frame: hands over a control frame or a message that it completes. Returns false if
    /// `on` did.
    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        on: &mut dyn FnMut(Received<'_>) -> bool,
    ) -> Result<bool, Violation> {
        let text = match header.opcode {
            Opcode::Ping => return Ok(on(Received::Ping(payload))),
            Opcode::Pong => return Ok(on(Received::Pong)),
            Opcode::Close => return Ok(on(Received::Close(close_code(payload)?))),
            Opcode::Text => true,
            Opcode::Binary | Opcode::Continuation => false,
        };
        // Control frames may come between the fragments of a message (5.4), so they have left the
        // function by here.
        let begun = self.fragmented.take();
        if begun.is_none() && header.is_final {
            return whole(text, payload, on);
        }
        let mut begun = begun.unwrap_or_else(|| {
            Box::new(Fragments {
                text,
                count: 0,
                message: Vec::new(),
            })
        });
        begun.message.extend_from_slice(payload);
        if header.is_final {
            return whole(begun.text, &begun.message, on);
        }
        begun.count += 1;
        self.fragmented = Some(begun);
        Ok(true)
    }
}

/// Hands over a complete message. Text is checked only now, since a character may be split between
/// two fragments.
fn whole(
    text: bool,
    message: &[u8],
    on: &mut dyn FnMut(Received<'_>) -> bool,
) -> Result<bool, Violation> {
    if !text {
        return Ok(on(Received::Binary(message)));
    }
    let text = std::str::from_utf8(message).or(Err(NOT_UTF8))?;
    Ok(on(Received::Text(text)))
}

/// Returns the code of a close frame, checked against those that may be sent (7.4), or `None` if
/// there is none.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(protocol("a close frame has half a code"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol("a close code that may not be sent"));
    }
    std::str::from_utf8(reason).or(Err(NOT_UTF8))?;
    Ok(Some(code))
}

/// Undoes the client's masking (5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes(chunk.try_into().expect("invariant: chunks of eight")) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
