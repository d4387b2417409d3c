//! Answering a connection that is not served, in plain HTTP, so that its client sees the answer.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How many bytes of a refused request are read at most before the answer is written.
const HEAD_BYTES: usize = 4 * 1024;

/// An answer, as a problem document (RFC 9457).
#[derive(Debug)]
pub(super) struct Refusal {
    /// Code and reason.
    pub(super) status: &'static str,
    /// Further header lines, each with its end.
    pub(super) headers: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
}

/// Answers the request of a connection and closes it. The request is read first: if a socket is
/// closed while it has unread bytes, the kernel resets the connection, and the client may never see
/// the answer. The caller limits the time.
///
/// # Errors
/// The client has gone away.
pub(super) async fn answer(mut stream: TcpStream, refusal: &Refusal) -> io::Result<()> {
    let mut head = vec![0; HEAD_BYTES];
    let mut read = 0;
    while read < head.len() && !head[..read].windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut head[read..]).await? {
            0 => return Ok(()),
            count => read += count,
        }
    }
    stream.write_all(refusal.text().as_bytes()).await?;
    stream.shutdown().await?;
    // What the client still sends is read until it closes, for the same reason.
    while stream.read(&mut head).await? > 0 {}
    Ok(())
}

impl Refusal {
    fn text(&self) -> String {
        let Self {
            status,
            headers,
            title,
            detail,
        } = self;
        let code = &status[..3];
        let body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{code},"detail":"{detail}"}}"#
        );
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             {headers}connection: close\r\n\r\n{body}",
            body.len()
        )
    }
}
