//! Between a client's socket and its session: one small task that reads, carries out what the
//! client asks, and wakes to write only when the socket was full.
//!
//! Usually the shard writes a session's frames itself, right when they are made. What must hold: an
//! idle session costs no buffer, what a client sends is limited by `budget.rs`, and the session
//! ends with its task, whatever ends that. The commands of a format are known to its decoder alone.

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

use crate::{limiter::Peer, stream::Stream};

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

/// How many times one call of the task reads. Then it yields, so that the other sessions of its
/// thread get their turn.
const READS_AT_ONCE: usize = 8;
/// The client has emptied its bucket of frames without content.
const FLOOD: Violation = Violation {
    code: 1008,
    reason: "too many pings, pongs or empty messages",
};

/// What all clients have begun to send, and not finished, is more than `unfinished_bytes`.
const NO_ROOM: Violation = Violation {
    code: 1013,
    reason: "this instance has too many unfinished messages; try again",
};

/// What the handshake has settled: how the session speaks, and what it may do.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) encoding: &'static Encoding,
    pub(crate) grant: Grant,
    /// The client showed the hub's key.
    pub(crate) with_key: bool,
    /// Channels to subscribe to at once, before the client has sent anything.
    pub(crate) channels: Vec<String>,
    /// Where it comes from: its address counts one connection for as long as this is kept.
    pub(crate) peer: Option<Peer>,
}

/// The writing side of a stream, as the session in the shard holds it. Writes never wait.
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

/// The reading side of one connection, as its task holds it.
struct Reading<S> {
    shard: Rc<Shard>,
    key: Key,
    stream: Rc<S>,
    /// Puts frames together to messages.
    frames: FrameDecoder,
    /// Reads the messages, in the session's format.
    decoder: Box<dyn Decoder>,
    budget: Budget,
    /// The client is not read now: it is over its budget, or the shard has paused it. The shard
    /// knows of it, since the answer to a ping may lie unread in the socket.
    waits: bool,
    /// A timer runs that will wake the task when the client's debt is paid.
    timed: bool,
    /// Kept, not used: its address counts this connection.
    _peer: Option<Peer>,
}

/// The session ends with the task, however that ends; a panic is counted too.
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

/// Opens a session that writes to a stream, and subscribes it to the channels that the handshake
/// asked for. Returns the session's key in the shard. The subscriptions go through the grant, as a
/// client's own commands do.
pub(crate) fn open<S: Stream + 'static>(
    shard: &Rc<Shard>,
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
            max_rate: None,
        };
        carry_out(shard, key, command);
    }
    key
}

/// Opens a session, and returns the future that serves it until either side ends it. `buffer` is
/// the thread's and is borrowed only while bytes are there; `early` are bytes that came together
/// with the handshake.
///
/// This is no `async fn`: the future of one would keep room, for as long as the client stays, for
/// what is needed only at the beginning.
pub(crate) fn serve<S: Stream + 'static>(
    shard: Rc<Shard>,
    buffer: Rc<RefCell<Vec<u8>>>,
    stream: S,
    early: Bytes,
    mut negotiated: Negotiated,
) -> impl Future<Output = ()> {
    let stream = Rc::new(stream);
    let peer = negotiated.peer.take();
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
        _peer: peer,
    };
    reading.account(0);
    // `early` holds the whole buffer that hyper read HTTP into, even if it is empty: dropped here,
    // an idle connection takes 1,981 bytes instead of 6,125 (`docs/decisions.md`).
    drop(early);
    reading.shard.flush_dirty();
    poll_fn(move |cx| reading.poll(cx, &buffer))
}

impl<S: Stream> Reading<S> {
    /// Writes what waits, then reads and carries out what the client asks. Returns `Ready` once the
    /// session is over.
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
            // A paused client may have left whole frames here. They come before what is read now.
            let goes_on = if self.frames.has_frame() {
                self.take(&mut [])
            } else {
                ready!(self.poll_read(cx, buffer))
            };
            // What the client asked may have made frames for any session of this shard. They are
            // written now, at once for all.
            self.shard.flush_dirty();
            if !goes_on {
                return Poll::Ready(());
            }
        }
        // Not finished, but it is the others' turn: the task asks to be called again.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once and carries out what came. Returns false if the session is over.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &RefCell<Vec<u8>>) -> Poll<bool> {
        if ready!(self.stream.poll_read_ready(cx)).is_err() {
            return Poll::Ready(false);
        }
        let mut buffer = buffer.borrow_mut();
        let read = self.stream.read(&mut buffer);
        self.budget.take(self.stream.take_overhead(), 0);
        Poll::Ready(match read {
            Ok(0) => false,
            Ok(count) => self.take(&mut buffer[..count]),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        })
    }

    /// Returns true if nothing of the client's is to be read or carried out now. Its task is woken
    /// when that changes: by the shard if that has paused it, else by a timer.
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

    /// Carries out what the bytes ask. Returns false if the client has closed the session.
    fn take(&mut self, bytes: &mut [u8]) -> bool {
        let shard = Rc::clone(&self.shard);
        let limits = shard.hub().limits();
        let (key, budget) = (self.key, &mut self.budget);
        let decoder = &mut *self.decoder;
        let before = self.frames.kept();
        let (mut over, mut flood) = (false, false);
        let mut on = |received: Received<'_>| {
            // Frames without content cost the client almost nothing, so they have a bucket of their
            // own.
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
            // A pause stops the decoder between two messages; the rest is kept until the pause
            // ends.
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

    /// Counts what is kept for this client's unfinished message among that of all clients. `before`
    /// is what was counted already. If it doesn't fit any more, the session ends.
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

    /// Ends the session with a close frame, and forgets what is not read: nothing after a violation
    /// can be understood. The task goes on until the closing handshake is over.
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

/// Carries out a command, or lets somebody else decide about it first where the session's grant says
/// so. Meanwhile the session is paused, so its commands stay in order.
fn carry_out(shard: &Rc<Shard>, key: Key, command: Command) {
    let Some(question) = shard.question(key, &command) else {
        return shard.command(key, command);
    };
    let shard = Rc::clone(shard);
    task::spawn_local(async move {
        let answer = question.await;
        shard.asked(key, command, answer);
        shard.flush_dirty();
    });
}

/// Reads a message in the session's format, and carries out each command that it holds.
fn decode(shard: &Rc<Shard>, key: Key, decoder: &mut dyn Decoder, incoming: Incoming<'_>) {
    decoder.decode(incoming, &mut |input| match input {
        Input::Command(command) => carry_out(shard, key, command),
        Input::Refused { reference, message } => {
            shard.refuse(key, reference.as_deref(), &message);
        }
        Input::Alive => shard.pong(key),
        Input::End(Close { code, reason }) => {
            shard.end_with(key, encode::close(code, &reason));
        }
    });
}
