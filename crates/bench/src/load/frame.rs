//! The little of RFC 6455 that a load needs: masked frames out, whole text frames in.
//!
//! Not a library: a load of many thousand sockets must cost far less than the hub that it measures, and a frame that is
//! only counted needs no buffer of its own. It reads only what a hub sends, so fragments and extensions are left out.

/// A frame from a server: its opcode, and where its payload begins and ends in the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: u8,
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// The opcodes (RFC 6455, section 5.2).
pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Returns the first frame, or `None` if a part of it is still to come.
///
/// Does not check the FIN and reserved bits, nor that a server's frame is not masked: the hub under
/// measurement is trusted, and its conformance is tested elsewhere.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    // The low four bits of the first byte; the high ones are FIN and the reserved bits.
    let opcode = bytes.first()? & 0x0f;
    // Seven bits of length. 126 and 127 say that two or eight bytes with the length follow.
    let (begin, length) = match bytes.get(1)? & 0x7f {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let end = begin + usize::try_from(length).ok()?;
    (bytes.len() >= end).then_some(Head { opcode, begin, end })
}

/// Adds a frame as a client sends it: masked, but with zeros, which leaves the payload as it is. A mask protects proxies
/// from the scripts of web pages, and here are neither.
pub(super) fn push(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    // FIN is set: this load never sends fragments.
    out.push(0x80 | opcode);
    match payload.len() {
        // The high bit of the second byte says that a mask follows.
        short @ 0..126 => out.push(0x80 | short as u8),
        long @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        huge => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(huge as u64).to_be_bytes());
        }
    }
    // The mask. XOR with zeros changes nothing, so the payload goes out as it is.
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_all_lengths_are_read_once_whole() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            // A text frame with FIN, as a server sends it: without a mask.
            let mut bytes = vec![0x81];
            match length {
                0..126 => bytes.push(length as u8),
                126..=65_535 => bytes.extend([126, (length >> 8) as u8, length as u8]),
                _ => bytes.extend([127, 0, 0, 0, 0, 0, 1, 0, 0]),
            }
            let begin = bytes.len();
            bytes.resize(begin + length, b'x');
            let end = bytes.len();
            let opcode = TEXT;
            assert_eq!(head(&bytes), Some(Head { opcode, begin, end }));
            // One byte less than whole must not be taken for a frame.
            assert_eq!(head(&bytes[..end - 1]), None);
        }
    }

    #[test]
    fn a_clients_frame_is_masked() {
        let mut out = Vec::new();
        push(&mut out, TEXT, b"hi");
        assert_eq!(out, [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    }
}
