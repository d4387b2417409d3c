//! The header of a WebSocket frame (RFC 6455, 5.2): two bytes, then a longer length and a mask
//! where there are any.
//!
//! This file reads and writes headers, and does not judge them: what a client may not send is
//! refused in `decoder.rs`.

/// Bytes of the longest header of a server's frame, which has no mask: 2, and 8 for the length.
pub(super) const MOST_BYTES: usize = 10;

/// What a frame is. Continuation, text and binary frames carry messages; the others are control
/// frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// A further part of a fragmented message.
    Continuation,
    /// A text message, or its first part.
    Text,
    /// A binary message, or its first part.
    Binary,
    /// The closing handshake.
    Close,
    /// To be answered with the same payload.
    Ping,
    /// An answer to a ping.
    Pong,
}

/// The header has an opcode that RFC 6455 keeps for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownOpcode;

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The last, or only, frame of a message.
    pub(super) is_final: bool,
    /// One of the three reserved bits is set. They belong to extensions, and this server has none.
    pub(super) reserved: bool,
    /// The key that the payload is masked with. A client must give one.
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of the payload.
    pub(super) length: u64,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

impl Opcode {
    /// The four bits of the first byte.
    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn from_bits(bits: u8) -> Result<Self, UnknownOpcode> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(UnknownOpcode),
        }
    }
}

impl Header {
    /// Reads a header from the start of `input`. Returns `None` while it is not there in full.
    ///
    /// # Errors
    /// The opcode is unknown. That is told from the first byte on, without waiting for the rest.
    pub(super) fn parse(input: &[u8]) -> Result<Option<Self>, UnknownOpcode> {
        let [first, second, rest @ ..] = input else {
            return Ok(None);
        };
        let opcode = Opcode::from_bits(first & 0x0f)?;
        // 126 and 127 stand for a length of two and of eight bytes behind the first two.
        let length = match second & 0x7f {
            126 => rest
                .first_chunk()
                .map(|it| (u64::from(u16::from_be_bytes(*it)), 2)),
            127 => rest.first_chunk().map(|it| (u64::from_be_bytes(*it), 8)),
            short => Some((u64::from(short), 0)),
        };
        let Some((length, length_bytes)) = length else {
            return Ok(None);
        };
        let mut bytes = 2 + length_bytes;
        let mut mask = None;
        // The first bit of the second byte says that a mask follows the length.
        if second & 0x80 != 0 {
            let Some(&key) = rest[length_bytes..].first_chunk() else {
                return Ok(None);
            };
            bytes += key.len();
            mask = Some(key);
        }
        Ok(Some(Self {
            opcode,
            is_final: first & 0x80 != 0,
            reserved: first & 0x70 != 0,
            mask,
            length,
            bytes,
        }))
    }
}

/// Writes the header of a server's frame, which is whole and has no mask, to the end of `room`, so
/// that the payload follows directly. Returns the index in `room` at which the header begins. The
/// length takes the fewest bytes.
pub(super) fn write(opcode: Opcode, length: u64, room: &mut [u8; MOST_BYTES]) -> usize {
    let start = match length {
        0..=125 => {
            room[9] = length as u8;
            8
        }
        126..=0xffff => {
            room[7] = 126;
            room[8..].copy_from_slice(&(length as u16).to_be_bytes());
            6
        }
        _ => {
            room[1] = 127;
            room[2..].copy_from_slice(&length.to_be_bytes());
            0
        }
    };
    room[start] = 0x80 | opcode.bits();
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_in_its_shortest_form() {
        for (length, bytes) in [
            (0, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (u64::MAX, 10),
        ] {
            let mut room = [0; MOST_BYTES];
            let start = write(Opcode::Text, length, &mut room);
            let header = Header::parse(&room[start..]).unwrap().unwrap();
            let wanted = Header {
                opcode: Opcode::Text,
                is_final: true,
                reserved: false,
                mask: None,
                length,
                bytes,
            };
            assert_eq!(header, wanted);
        }
    }

    #[test]
    fn every_part_of_a_header_is_waited_for() {
        let full = [0x01, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, b'x'];
        for end in 0..14 {
            assert_eq!(Header::parse(&full[..end]), Ok(None), "{end}");
        }
        let header = Header::parse(&full).unwrap().unwrap();
        assert_eq!((header.length, header.bytes), (65_536, 14));
        assert_eq!(header.mask, Some([1, 2, 3, 4]));
        assert!(!header.is_final && !header.reserved);
    }

    #[test]
    fn reserved_bits_and_opcodes_are_told() {
        for bits in [3, 7, 11, 15] {
            assert_eq!(Header::parse(&[0x80 | bits, 0]), Err(UnknownOpcode));
        }
        let header = Header::parse(&[0xc9, 0]).unwrap().unwrap();
        assert!(header.reserved && header.opcode == Opcode::Ping);
    }
}
