//! Between a client's socket and its session: one small task that reads, and wakes to write only when the socket
//! was full.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use hubplane_backplane::Channel;
use tokio::{task, time::sleep};

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
const FLOOD: Violation = Violation {
    code: 1008,
    reason: "too many pings, pongs or empty messages",
};

const NO_ROOM: Violation = Violation {
    code: 1013,
    reason: "this instance has too many unfinished messages; try again",
};

/// What the handshake has settled.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) encoding: &'static Encoding,
    pub(crate) grant: Grant,
    /// The client showed the hub's key.
    pub(crate) with_key: bool,
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
    /// Neither read nor carried out for now, as the shard knows.
    waits: bool,
    /// A timer runs that ends that.
    timed: bool,
}

/// However the task ends, also by a panic: the session ends with it.
impl<S> Drop for Reading<S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shard.hub().count_panic();
        }
        self.shard.hub().inbound().give_back(self.frames.kept());
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

/// Opens a session that writes to a stream, and subscribes it to the channels that it asked for.
pub(crate) fn open<S: Stream + 'static>(
    shard: &Shard,
    stream: &Rc<S>,
    negotiated: Negotiated,
) -> Key {
    let key = shard.open(SessionSetup {
        socket: Box::new(Shared(Rc::clone(stream))),
        encoding: negotiated.encoding,
        grant: negotiated.grant.shared(),
    });
    for channel in negotiated.channels {
        let command = Command::Subscribe {
            reference: None,
            channel: Channel::from(channel),
            tag: None,
            since: None,
            presence: None,
        };
        shard.command(key, command);
    }
    key
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
    let budget = Budget::new(negotiated.with_key, shard.hub().limits());
    let decoder = negotiated.encoding.format.decoder();
    let key = open(&shard, &stream, negotiated);
    let mut reading = Reading {
        shard,
        key,
        stream,
        frames: FrameDecoder::starting_with(&early),
        decoder,
        budget,
        waits: false,
        timed: false,
    };
    reading.account(0);
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
            if self.must_wait(status.paused, cx) {
                return Poll::Pending;
            }
            // What was kept comes before what is read.
            let goes_on = if self.frames.has_frame() {
                self.take(&mut [])
            } else {
                ready!(self.poll_read(cx, buffer))
            };
            self.shard.flush_dirty();
            if !goes_on {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once. Returns false if the session is over.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &RefCell<Vec<u8>>) -> Poll<bool> {
        if ready!(self.stream.poll_read_ready(cx)).is_err() {
            return Poll::Ready(false);
        }
        let mut buffer = buffer.borrow_mut();
        Poll::Ready(match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => self.take(&mut buffer[..count]),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        })
    }

    /// Returns true if nothing of the client's is to be read or carried out now. Its task is woken when that changes.
    fn must_wait(&mut self, paused: bool, cx: &Context<'_>) -> bool {
        let hold = self.budget.hold(self.shard.hub().limits());
        let waits = paused || hold.is_some();
        if std::mem::replace(&mut self.waits, waits) != waits {
            self.shard.set_unread(self.key, waits);
        }
        let timed = std::mem::replace(&mut self.timed, hold.is_some());
        if let Some(hold) = hold
            && !timed
        {
            wake_after(hold, cx.waker().clone());
        }
        waits
    }

    /// Carries out what the bytes ask. Returns false if the session is over.
    fn take(&mut self, bytes: &mut [u8]) -> bool {
        let shard = Rc::clone(&self.shard);
        let limits = shard.hub().limits();
        let (key, budget) = (self.key, &mut self.budget);
        let decoder = &mut *self.decoder;
        let before = self.frames.kept();
        let (mut over, mut flood) = (false, false);
        let mut on = |received: Received<'_>| {
            let is_empty = matches!(
                received,
                Received::Ping(_) | Received::Pong | Received::Text("") | Received::Binary(b"")
            );
            if is_empty && !budget.take_empty_frame(limits) {
                flood = true;
                return false;
            }
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
            !over && !shard.is_paused(key)
        };
        match self.frames.feed(bytes, limits, &mut on) {
            Ok(used) => self.budget.take(used.bytes, used.frames),
            Err(violation) => {
                self.budget.take(bytes.len(), 0);
                self.violated(violation);
            }
        }
        if flood {
            self.violated(FLOOD);
        }
        self.account(before);
        !over
    }

    /// Counts what is kept among that of all clients. Where it doesn't fit any more, the session ends.
    fn account(&mut self, before: usize) {
        let shard = Rc::clone(&self.shard);
        let inbound = shard.hub().inbound();
        match self.frames.kept().checked_sub(before) {
            Some(0) => {}
            Some(more) if inbound.take(more) => {}
            Some(_) => {
                self.violated(NO_ROOM);
                inbound.give_back(before);
            }
            None => inbound.give_back(before - self.frames.kept()),
        }
    }

    /// Ends the session. What follows can't be read any more; the closing handshake is what is waited for.
    fn violated(&mut self, violation: Violation) {
        self.frames = FrameDecoder::default();
        self.shard
            .end_with(self.key, encode::close(violation.code, violation.reason));
    }
}

/// Wakes a task after a time. Only a session that is held back has such a timer; it may outlive the session.
fn wake_after(time: Duration, waker: Waker) {
    task::spawn_local(async move {
        sleep(time).await;
        waker.wake();
    });
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
