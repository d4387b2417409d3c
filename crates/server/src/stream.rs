//! A client's connection as a shard's thread serves it: reads and writes that never wait, and
//! readiness to wait for.
//!
//! A session's frames are written by whatever code of the thread has news, not by the task that
//! reads the connection. So a write can't wait, and what does not fit stays in the session's
//! outbox. This file must not know frames or formats.

use std::{
    cell::RefCell,
    fmt,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

/// Bytes of one read of a [`Foreign`] connection. To learn whether something is there it must read,
/// so up to this much waits in each of them.
const READ_BYTES: usize = 4 * 1024;
/// Bytes that a [`Foreign`] connection takes although it can't send them now.
const UNSENT_BYTES: usize = 16 * 1024;

/// A connection whose reads and writes never wait. One task polls it, on one thread; writes may
/// also come from other code on that thread.
pub(crate) trait Stream: fmt::Debug {
    /// Reads what is there; `WouldBlock` where nothing is, `Ok(0)` at the end.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Takes what fits now; `WouldBlock` where nothing does. What was taken may still wait to be sent, see
    /// [`Stream::has_unsent`].
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// As [`Stream::write`], from several buffers.
    fn write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;
    /// Waits until [`Stream::read`] may find something.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Sends what was taken, and waits until [`Stream::write`] may take something.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Returns true if bytes were taken that are not yet sent; the task then polls [`Stream::poll_write_ready`].
    fn has_unsent(&self) -> bool;
    /// Returns how many bytes were read since the last call that were no content, such as those of
    /// records. They count against the client's budget.
    fn take_overhead(&self) -> usize {
        0
    }
}

impl Stream for TcpStream {
    /// Reads, and notes when the socket is empty. A read that did not fill the buffer has emptied
    /// the socket. Tokio would need another system call for each message to learn that, so it is
    /// told here by `WouldBlock`.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = Err(io::ErrorKind::WouldBlock.into());
        let tried = self.try_io(Interest::READABLE, || {
            got = (&*SockRef::from(self)).read(buffer);
            match &got {
                Ok(count @ 1..) if *count < buffer.len() => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.kind().into()),
            }
        });
        // The result only said whether the socket is empty. What was read is in `got`.
        drop(tried);
        got
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_read_ready(self, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_write_ready(self, cx)
    }

    fn has_unsent(&self) -> bool {
        false
    }
}

/// A connection that says that it is ready only to a task which waits: the connection of another
/// server, in an application that embeds the hub (it may be TLS, and belong to another runtime), or
/// the body of a response.
///
/// It keeps the waker of the task that serves it. Reads and writes that come from elsewhere use
/// that waker, so the task is woken when they could not be finished.
pub(crate) struct Foreign<T>(RefCell<Parts<T>>);

/// The parts of a [`Foreign`]. They are behind a `RefCell`, since the task that reads and the code
/// that writes share them.
struct Parts<T> {
    inner: T,
    /// The task to wake when something can be read or written.
    waker: Waker,
    /// Read, but not yet asked for.
    arrived: Vec<u8>,
    ended: bool,
    /// Taken, but not yet sent.
    unsent: Vec<u8>,
}

impl<T> Foreign<T> {
    /// Wraps a connection. It has no task to wake before the first poll.
    pub(crate) fn new(inner: T) -> Self {
        Self(RefCell::new(Parts {
            inner,
            waker: Waker::noop().clone(),
            arrived: Vec::new(),
            ended: false,
            unsent: Vec::new(),
        }))
    }
}

impl<T> fmt::Debug for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").finish_non_exhaustive()
    }
}

impl<T: Read + Write + Unpin> Parts<T> {
    /// Reads once into `arrived`, unless something is there already. An empty read is the end.
    fn poll_arrive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.arrived.is_empty() || self.ended {
            return Poll::Ready(Ok(()));
        }
        let mut room = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.inner).poll_read(cx, cursor(&mut buffer)))?;
        self.arrived.extend_from_slice(buffer.filled());
        self.ended = self.arrived.is_empty();
        Poll::Ready(Ok(()))
    }

    /// Sends what waits in `unsent`, and flushes the connection once all of it is taken. What was
    /// not taken stays.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.unsent.len() {
                break Pin::new(&mut self.inner).poll_flush(cx);
            }
            match Pin::new(&mut self.inner).poll_write(cx, &self.unsent[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.unsent.drain(..sent);
        // An idle session keeps no buffer, and a broken connection nothing that its task would try
        // to send without end.
        if self.unsent.is_empty() || matches!(outcome, Poll::Ready(Err(_))) {
            self.unsent = Vec::new();
        }
        outcome
    }
}

/// Returns hyper's view of the free part of a buffer.
fn cursor<'a>(buffer: &'a mut ReadBuf<'_>) -> ReadBufCursor<'a> {
    buffer.unfilled()
}

impl<T: Read + Write + Unpin> Stream for Foreign<T> {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let parts = &mut *self.0.borrow_mut();
        let waker = parts.waker.clone();
        match parts.poll_arrive(&mut Context::from_waker(&waker)) {
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => {
                let count = parts.arrived.len().min(buffer.len());
                buffer[..count].copy_from_slice(&parts.arrived[..count]);
                parts.arrived.drain(..count);
                if parts.arrived.is_empty() {
                    parts.arrived = Vec::new();
                }
                Ok(count)
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let parts = &mut *self.0.borrow_mut();
        // One piece at a time: what comes now must go behind what waits, and the outbox limits how
        // much that is.
        if !parts.unsent.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(UNSENT_BYTES);
        parts.unsent.extend_from_slice(&bytes[..count]);
        let waker = parts.waker.clone();
        match parts.poll_send(&mut Context::from_waker(&waker)) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(count),
        }
    }

    fn write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        // Takes the first buffer that is not empty. The caller sees how much was taken, and comes
        // back with the rest.
        let first = slices.iter().find(|slice| !slice.is_empty());
        first.map_or(Ok(0), |slice| self.write(slice))
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut parts = self.0.borrow_mut();
        parts.waker.clone_from(cx.waker());
        parts.poll_arrive(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut parts = self.0.borrow_mut();
        parts.waker.clone_from(cx.waker());
        parts.poll_send(cx)
    }

    fn has_unsent(&self) -> bool {
        !self.0.borrow().unsent.is_empty()
    }
}
