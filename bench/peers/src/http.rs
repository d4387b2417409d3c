//! Publishing as backends do: some connections to each instance, one request in flight on each.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use crate::{Failure, protocol::Request};

/// Connections to one instance, as a backend's pool would have.
pub(crate) const CONNECTIONS: usize = 8;
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What waits for a free connection to one instance.
#[derive(Default)]
pub(crate) struct Queue {
    /// In the order in which they became due; not limited, so that what waits counts as late.
    requests: RefCell<VecDeque<(u64, Request)>>,
    more: Notify,
    /// Requests that were not answered with success, by the message's number.
    pub(crate) refused: RefCell<Vec<u64>>,
    /// Requests that were answered with success.
    pub(crate) answered: Cell<u64>,
}

impl Queue {
    /// Never waits: the clock goes on whatever the server does.
    pub(crate) fn put(&self, number: u64, request: Request) {
        self.requests.borrow_mut().push_back((number, request));
        self.more.notify_one();
    }

    /// Waits for the next request; several connections may wait at once.
    async fn take(&self) -> (u64, Request) {
        loop {
            // The borrow must end before anything is awaited.
            let next = self.requests.borrow_mut().pop_front();
            match next {
                Some(next) => return next,
                None => self.more.notified().await,
            }
        }
    }
}

/// Sends what is put into the queue, until it is aborted.
pub(crate) async fn publish(address: SocketAddr, queue: Rc<Queue>) {
    let mut open: Option<TcpStream> = None;
    loop {
        // One at a time on each connection, without pipelining.
        let (number, request) = queue.take().await;
        let exchange = exchange(address, &mut open, &request);
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(())) => queue.answered.set(queue.answered.get() + 1),
            Ok(Err(_)) | Err(_) => {
                // The connection is in an unknown state after an error, and is not used again.
                open = None;
                queue.refused.borrow_mut().push(number);
            }
        }
    }
}

/// One request; the connection is kept if the server keeps it.
///
/// # Errors
///
/// The socket's, or an answer that is no success. Both count as refused.
async fn exchange(
    address: SocketAddr,
    open: &mut Option<TcpStream>,
    request: &Request,
) -> Result<(), Failure> {
    // Taken out: it is put back only after a sound answer.
    let mut stream = match open.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    let Request {
        path,
        headers,
        body,
    } = request;
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    if answer(&mut stream).await? {
        *open = Some(stream);
    }
    Ok(())
}

/// Reads an answer with a length; whether the connection goes on.
///
/// # Errors
///
/// The server closes, its answer has no length, or it is not 200 without an error in the body.
async fn answer(stream: &mut TcpStream) -> Result<bool, Failure> {
    let mut got = Vec::with_capacity(1_024);
    loop {
        if stream.read_buf(&mut got).await? == 0 {
            return Err("closed".into());
        }
        // The head is complete at the first empty line.
        let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        // In small letters, since header names have no case.
        let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(':')).map(str::trim)
        };
        let length: usize = header("content-length")
            .ok_or("no content-length")?
            .parse()?;
        if got.len() < end + 4 + length {
            continue;
        }
        let body = String::from_utf8_lossy(&got[end + 4..]);
        // Some servers answer 200 and put the error into the body.
        if !head.starts_with("http/1.1 200") || body.contains("\"error\":") {
            return Err(format!("{head}\n{body}").into());
        }
        // HTTP/1.1 keeps a connection open unless it says otherwise (RFC 9112, section 9.3).
        return Ok(header("connection") != Some("close"));
    }
}
