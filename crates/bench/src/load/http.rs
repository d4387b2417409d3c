//! Just enough HTTP/1.1 to publish over a connection that stays open.

use std::io;

/// An answer: its status, and where its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// The first answer, if all of it is there.
pub(super) fn answer(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(at) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(&bytes[..at]).map_err(io::Error::other)?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let wanted = name.eq_ignore_ascii_case("content-length");
        wanted.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let (Some(status), Some(length)) = (status, length) else {
        return Err(io::Error::other("an answer without a status or a length"));
    };
    let begin = at + 4;
    let end = begin + length;
    Ok((bytes.len() >= end).then_some(Answer { status, begin, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest";
        let whole = Answer {
            status: 200,
            begin: 38,
            end: 40,
        };
        assert_eq!(answer(text).unwrap(), Some(whole));
        assert_eq!(answer(&text[..39]).unwrap(), None);
        assert_eq!(answer(&text[..20]).unwrap(), None);
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
