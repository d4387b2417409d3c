//! What Redis pushes to a subscriber of the channel `across`.

use std::ops::Range;

/// The data of a pushed message that is there in full, and its end.
pub(crate) fn pushed(got: &[u8]) -> Option<(Range<usize>, usize)> {
    // RESP: an array of the word, the channel and the data, each with its length.
    const HEAD: &[u8] = b"*3\r\n$7\r\nmessage\r\n$6\r\nacross\r\n$";
    let rest = got.strip_prefix(HEAD)?;
    let line = rest.iter().position(|&byte| byte == b'\r')?;
    let length: usize = std::str::from_utf8(&rest[..line]).ok()?.parse().ok()?;
    // Two bytes of line end behind the length, and two behind the data.
    let start = HEAD.len() + line + 2;
    let end = start + length + 2;
    (got.len() >= end).then_some((start..start + length, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_message_is_taken_when_it_is_whole() {
        let text = b"*3\r\n$7\r\nmessage\r\n$6\r\nacross\r\n$5\r\nhello\r\n";
        let (message, end) = pushed(text).unwrap_or_default();
        assert_eq!((&text[message], end), (&b"hello"[..], text.len()));
        assert_eq!(pushed(&text[..text.len() - 1]), None);
    }
}
