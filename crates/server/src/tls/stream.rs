//! A TLS connection over a TCP socket, as a shard's thread serves it: hyper reads and writes it while
//! it speaks HTTP, and its session does so once it is a WebSocket.
//!
//! Reads and writes never wait, as `crate::stream` asks for. What the socket does not take of a
//! write's records waits here, and nothing more is taken before it is sent; everything else stays in
//! the session's outbox. This file must not know certificates or handshakes.

use std::{
    cell::RefCell,
    fmt, io,
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::records::Records;
use crate::stream::Stream;

/// Bytes that hyper reads at once.
const READ_BYTES: usize = 8 * 1024;
/// How many times one call of hyper's reads the socket without finding content. Then it yields.
const READS_AT_ONCE: usize = 8;

/// A TLS connection. When it is dropped, the client is told that nothing more comes.
pub(crate) struct Secured {
    socket: TcpStream,
    parts: RefCell<Parts>,
}

/// What the task that reads and the code that writes share.
struct Parts {
    records: Records,
    /// The task to wake when the socket takes more.
    waker: Waker,
    /// The client was told that nothing more comes.
    closed: bool,
}

impl Secured {
    /// A connection before its handshake.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let parts = Parts {
            records: Records::new(config)?,
            waker: Waker::noop().clone(),
            closed: false,
        };
        Ok(Self {
            socket,
            parts: RefCell::new(parts),
        })
    }

    /// Goes on with the handshake. `Ready` once it is done and its last bytes are sent.
    ///
    /// # Errors
    /// The client speaks no TLS, or nothing that this server may agree to; it has given up.
    pub(super) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            if !self.parts.borrow().records.is_handshaking() {
                // The handshake's bytes are no content, and yet they are no misuse.
                self.take_overhead();
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read_ready(cx))?;
            // No buffer: content that came with the handshake's end waits for its reader.
            match self.read(&mut []) {
                Ok(0) if self.parts.borrow().records.is_handshaking() => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    // The client is told why, if its socket takes it at once.
                    _ = self.send();
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
    }

    /// Sends what waits, as far as the socket takes it.
    fn send(&self) -> io::Result<()> {
        let records = &mut self.parts.borrow_mut().records;
        records.send(|bytes| self.socket.try_write(bytes))
    }

    /// Queues the word that nothing more comes, once.
    fn close(&self) {
        let parts = &mut *self.parts.borrow_mut();
        if !parts.closed {
            parts.closed = true;
            parts.records.close();
        }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.close();
        // A socket that takes nothing now does not learn it.
        _ = self.send();
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Stream for Secured {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let records = &mut self.parts.borrow_mut().records;
        let got = records.read(buffer, |bytes| Stream::read(&self.socket, bytes));
        // An answer of the protocol's own, such as new keys. What the socket does not take now goes
        // out with the next write.
        if !records.unsent.is_empty() {
            _ = records.send(|bytes| self.socket.try_write(bytes));
        }
        got
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let parts = &mut *self.parts.borrow_mut();
        let send = |bytes: &[u8]| self.socket.try_write(bytes);
        // One piece at a time: what comes now must go behind what waits, and the outbox limits how
        // much that is.
        parts.records.send(send)?;
        let taken = parts.records.write(slices, send)?;
        match parts.records.send(send) {
            // The session takes this for written and waits for the client alone, so its task is
            // woken from here.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut cx = Context::from_waker(&parts.waker);
                if self.socket.poll_write_ready(&mut cx).is_ready() {
                    parts.waker.wake_by_ref();
                }
            }
            sent => sent?,
        }
        Ok(taken)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parts = &mut *self.parts.borrow_mut();
        parts.waker.clone_from(cx.waker());
        if parts.records.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.parts.borrow_mut().waker.clone_from(cx.waker());
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn has_unsent(&self) -> bool {
        !self.parts.borrow().records.unsent.is_empty()
    }

    fn take_overhead(&self) -> usize {
        self.parts.borrow_mut().records.take_overhead()
    }
}

impl Read for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..READS_AT_ONCE {
            ready!(self.poll_read_ready(cx))?;
            let mut buffer = [0; READ_BYTES];
            let most = room.remaining().min(READ_BYTES);
            match Stream::read(&*self, &mut buffer[..most]) {
                Ok(count) => {
                    room.put_slice(&buffer[..count]);
                    // HTTP has limits of its own, so only what brings no content is counted.
                    self.take_overhead();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Write for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match Stream::write(&*self, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.has_unsent() {
            true => self.poll_write_ready(cx),
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(SockRef::from(&self.socket).shutdown(Shutdown::Write))
    }
}
