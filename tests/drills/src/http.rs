//! As much HTTP/1.1 as a publisher needs, on a connection that is kept.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::Result;

/// Longer than the hub's own limit for a publish.
const LIMIT: Duration = Duration::from_secs(8);

/// How a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was sent.
    Unsent,
    /// It was sent at least in part, and no answer came.
    NoAnswer,
}

/// A connection to one hub, made when it is needed.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// Another hub from now on.
    ///
    /// The old connection is closed; what was sent on it has been answered.
    pub(crate) fn turn_to(&mut self, address: SocketAddr) {
        if self.address != address {
            *self = Self::new(address);
        }
    }

    /// Sends a body and returns status and body of the answer.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: &str,
    ) -> std::result::Result<(u16, String), Failure> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.send(head + body).await
    }

    async fn send(&mut self, request: String) -> std::result::Result<(u16, String), Failure> {
        // Taken out: it is put back only after a sound answer.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => match timeout(LIMIT, TcpStream::connect(self.address)).await {
                Ok(Ok(stream)) => {
                    _ = stream.set_nodelay(true);
                    BufReader::new(stream)
                }
                _ => return Err(Failure::Unsent),
            },
        };
        let exchange = async {
            stream.get_mut().write_all(request.as_bytes()).await?;
            answer(&mut stream).await
        };
        match timeout(LIMIT, exchange).await {
            Ok(Ok((status, body, keep))) => {
                self.stream = keep.then_some(stream);
                Ok((status, body))
            }
            // It was sent at least in part, so it may have been carried out.
            _ => Err(Failure::NoAnswer),
        }
    }
}

/// Status, body, and whether the connection may be used again.
async fn answer(stream: &mut BufReader<TcpStream>) -> Result<(u16, String, bool)> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).ok_or("no status")?.parse()?;
    let (mut length, mut keep) = (None, true);
    loop {
        // A line of two bytes or less is the empty one behind the headers.
        line.clear();
        if stream.read_line(&mut line).await? <= 2 {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.trim().eq_ignore_ascii_case("close");
        }
    }
    let mut body = Vec::new();
    if let Some(length) = length {
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
    } else {
        // Without a length, the body ends with the connection.
        stream.read_to_end(&mut body).await?;
        keep = false;
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned(), keep))
}

/// One `GET` on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut http = Http::new(address);
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    http.send(request)
        .await
        .map_err(|failure| format!("GET {path}: {failure:?}").into())
}
