//! Answers of HTTP/1.1 over a connection that stays open. Only answers with a length: a hub gives no others.

use std::io;

use httparse::{EMPTY_HEADER, Response, Status};

/// The most header lines that an answer may have.
const HEADERS: usize = 64;
/// The most bytes that an answer's head may have.
const HEAD_BYTES: usize = 16 * 1024;

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// The body's bytes; absent if the answer does not say it.
    pub(super) length: Option<usize>,
    /// Where the body begins.
    pub(super) end: usize,
}

/// Returns the head of the first answer, or `None` if a part of it is still to come. An error if this is no HTTP, or the
/// head is too long.
///
/// Interim answers (1xx) are not skipped: a hub sends only 101, and that one is wanted.
pub(super) fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut answer = Response::new(&mut headers);
    let end = match answer.parse(bytes).map_err(io::Error::other)? {
        Status::Complete(end) => end,
        Status::Partial if bytes.len() < HEAD_BYTES => return Ok(None),
        Status::Partial => return Err(io::Error::other("the head of an answer is too long")),
    };
    let mut headers = answer.headers.iter();
    // The first of that name decides; two that differ (RFC 9110, section 8.6) come from no hub.
    let length = headers.find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let number = |value| str::from_utf8(value).ok()?.trim().parse().ok();
    Ok(answer.code.map(|status| Head {
        status,
        length: length.and_then(|it| number(it.value)),
        end,
    }))
}

/// An answer: its status, and where its body begins and ends in the bytes that were read.
///
/// The body is not copied: the reader looks into it for failures and drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// Returns the first answer, or `None` if a part of it is still to come. An error if it does not say its length.
pub(super) fn answer(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(Head {
        status,
        length,
        end: begin,
    }) = head(bytes)?
    else {
        return Ok(None);
    };
    // Checked, because the length is the server's word and may be anything up to `usize::MAX`.
    let end = length.and_then(|length| begin.checked_add(length));
    let end = end.ok_or_else(|| io::Error::other("an answer without a length"))?;
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
        // What follows the body belongs to the next answer.
        assert_eq!(answer(text).unwrap(), Some(whole));
        assert_eq!(answer(&text[..39]).unwrap(), None);
        // Neither a part of the body nor a part of the head is an answer.
        assert_eq!(answer(&text[..20]).unwrap(), None);
        // Without a length there is no telling where the next answer begins.
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        // A head that never ends must not be collected for ever.
        let endless = [&b"HTTP/1.1 200 OK\r\na: "[..], &[b'x'; HEAD_BYTES]].concat();
        assert!(answer(&endless).is_err());
        assert!(answer(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").is_err());
        // A length that overflows when the head is added to it.
        let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", usize::MAX);
        assert!(answer(huge.as_bytes()).is_err());
    }
}
