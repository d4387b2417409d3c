//! Client frames, put together to messages; everything that RFC 6455 forbids is refused with its close code.

use hubplane_hub::Limits;

use super::header::{Header, Opcode};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// An answer to a ping.
    Pong,
    /// The closing handshake, with the client's code.
    Close(Option<u16>),
}

/// What a client may not do, with the close code and reason that say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

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

/// What of a client's stream is not yet a whole message. Owns no memory while it waits for nothing.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The start of a frame that is not there in full.
    rest: Vec<u8>,
    /// Inside a fragmented message: what there is of it.
    fragmented: Option<Box<Fragments>>,
}

/// The beginning of a fragmented message.
#[derive(Debug)]
struct Fragments {
    text: bool,
    count: usize,
    message: Vec<u8>,
}

/// What a call of [`Decoder::feed`] has used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) bytes: usize,
    pub(super) frames: usize,
}

impl Decoder {
    /// Begins with bytes that came together with the handshake.
    pub(super) fn starting_with(early: &[u8]) -> Self {
        Self {
            rest: early.to_vec(),
            fragmented: None,
        }
    }

    /// Takes bytes as they came, and hands over what is complete. Where `on` returns false it stops, and keeps the rest
    /// for the next call.
    pub(super) fn feed(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on: &mut dyn FnMut(Received<'_>) -> bool,
    ) -> Result<Used, Violation> {
        if self.rest.is_empty() {
            let used = self.frames(input, limits, on)?;
            self.rest.extend_from_slice(&input[used.bytes..]);
            return Ok(used);
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(input);
        let used = self.frames(&mut all, limits, on)?;
        if used.bytes < all.len() {
            all.drain(..used.bytes);
            self.rest = all;
        }
        Ok(used)
    }

    /// Bytes that are kept for what is not finished.
    pub(super) fn kept(&self) -> usize {
        let begun = self.fragmented.as_ref();
        self.rest.len() + begun.map_or(0, |it| it.message.len())
    }

    /// Returns true if what was kept holds a whole frame, or one that is a violation: [`Decoder::feed`] goes on without
    /// more bytes.
    pub(super) fn has_frame(&self) -> bool {
        match Header::parse(&self.rest) {
            Ok(None) => false,
            Ok(Some(header)) => (self.rest.len() - header.bytes) as u64 >= header.length,
            Err(_) => true,
        }
    }

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

    /// All that a header alone can do wrong, before any payload is waited for.
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
