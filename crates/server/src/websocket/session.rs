//! Between a client's socket and its session: one small task that reads, and wakes to write only when the socket
//! was full.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hubplane_backplane::Channel;

use crate::stream::Stream;

use super::{
    budget::Budget,
    decoder::{Decoder as FrameDecoder, Received, Violation},
    encode,
};
use hubplane_hub::{
    Grant, Key, SessionSetup, Shard,
    command::Command,
    frame::{Encoding, Socket},
};
use hubplane_protocol::{Close, Decoder, Incoming, Input};

/// How often a task reads before it lets the others of its thread run.
const READS_AT_ONCE: usize = 8;

/// What the handshake has settled.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) encoding: &'static Encoding,
    pub(crate) grant: Grant,
    /// To subscribe at once.
    pub(crate) channels: Vec<String>,
}

/// A socket for its session: writes never wait.
#[derive(Debug)]
struct Shared<S>(Rc<S>);

impl<S: Stream> Socket for Shared<S> {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(bytes)
    }
}

/// One connection's reading side.
struct Reading<S> {
    shard: Rc<Shard>,
    key: Key,
    stream: Rc<S>,
    /// Puts frames together to messages.
    frames: FrameDecoder,
    /// Reads the messages.
    decoder: Box<dyn Decoder>,
    budget: Budget,
}

/// However the task ends, also by a panic: the session ends with it.
impl<S> Drop for Reading<S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shard.hub().count_panic();
        }
        self.shard.remove(self.key);
    }
}

impl<S> fmt::Debug for Reading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Opens a session, and serves it until either side ends it. `buffer` is the thread's, borrowed only while bytes are there.
///
/// No `async fn`: its future would keep room for all that is needed at the beginning alone, for as long as the client
/// stays.
pub(crate) fn serve<S: Stream + 'static>(
    shard: Rc<Shard>,
    buffer: Rc<RefCell<Vec<u8>>>,
    stream: S,
    early: Bytes,
    negotiated: Negotiated,
) -> impl Future<Output = ()> {
    let stream = Rc::new(stream);
    let socket = Box::new(Shared(Rc::clone(&stream)));
    let key = shard.open(SessionSetup {
        socket,
        encoding: negotiated.encoding,
        grant: negotiated.grant.shared(),
    });
    let budget = Budget::new(shard.hub().limits());
    let mut reading = Reading {
        shard,
        key,
        stream,
        frames: FrameDecoder::default(),
        decoder: negotiated.encoding.format.decoder(),
        budget,
    };
    for channel in negotiated.channels {
        let channel = Channel::from(channel);
        reading.shard.command(
            key,
            Command::Subscribe {
                reference: None,
                channel,
                tag: None,
                since: None,
                presence: None,
            },
        );
    }
    if !early.is_empty() {
        reading.take(&mut early.to_vec());
    }
    // Even an empty one holds the whole buffer that HTTP was read into.
    drop(early);
    reading.shard.flush_dirty();
    poll_fn(move |cx| reading.poll(cx, &buffer))
}

impl<S: Stream> Reading<S> {
    /// Ready once the session is over.
    fn poll(&mut self, cx: &mut Context<'_>, buffer: &RefCell<Vec<u8>>) -> Poll<()> {
        for _ in 0..READS_AT_ONCE {
            let Some(status) = self.shard.status(self.key, cx.waker()) else {
                return Poll::Ready(());
            };
            let waits = status.blocked || self.stream.has_unsent();
            if waits && self.stream.poll_write_ready(cx).is_ready() {
                self.shard.flush(self.key);
                continue;
            }
            if status.paused && !status.ending {
                return Poll::Pending;
            }
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            let mut buffer = buffer.borrow_mut();
            match self.stream.read(&mut buffer) {
                Ok(0) => return Poll::Ready(()),
                Ok(n) => {
                    if !self.take(&mut buffer[..n]) {
                        self.shard.flush_dirty();
                        return Poll::Ready(());
                    }
                    self.shard.flush_dirty();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries out what the bytes ask. Returns false if the session is over.
    fn take(&mut self, bytes: &mut [u8]) -> bool {
        let shard = Rc::clone(&self.shard);
        let limits = shard.hub().limits();
        let (key, count) = (self.key, bytes.len());
        let decoder = &mut *self.decoder;
        let mut over = false;
        let mut on = |received: Received<'_>| {
            match received {
                Received::Text(text) => decode(&shard, key, decoder, Incoming::Text(text)),
                Received::Binary(bytes) => decode(&shard, key, decoder, Incoming::Binary(bytes)),
                Received::Ping(payload) => shard.send(key, encode::pong(payload)),
                Received::Pong => shard.pong(key),
                Received::Close(code) => {
                    let answer =
                        code.map_or_else(encode::bare_close, |code| encode::close(code, ""));
                    shard.end_with(key, answer);
                    over = true;
                }
            }
            !over
        };
        let frames = match self.frames.feed(bytes, limits, &mut on) {
            Ok(frames) => frames,
            Err(violation) => {
                self.violated(violation);
                // What follows can't be read any more; the closing handshake is what is waited for.
                self.frames = FrameDecoder::default();
                return self.budget.take(count, 0, limits);
            }
        };
        if !self.budget.take(count, frames, limits) {
            self.violated(Violation {
                code: 1008,
                reason: "more is sent than this server takes",
            });
            return false;
        }
        !over
    }

    fn violated(&self, violation: Violation) {
        self.shard
            .end_with(self.key, encode::close(violation.code, violation.reason));
    }
}

/// Carries out what a message asks.
fn decode(shard: &Shard, key: Key, decoder: &mut dyn Decoder, incoming: Incoming<'_>) {
    decoder.decode(incoming, &mut |input| match input {
        Input::Command(command) => shard.command(key, command),
        Input::Refused { reference, message } => {
            shard.refuse(key, reference.as_deref(), &message);
        }
        Input::Alive => shard.pong(key),
        Input::End(Close { code, reason }) => {
            shard.end_with(key, encode::close(code, &reason));
        }
    });
}
