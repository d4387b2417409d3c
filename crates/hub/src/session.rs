//! One client connection, as its shard keeps it.

use std::{task::Waker, time::Instant};

use hubplane_backplane::Channel;

use super::{
    command::Ending,
    frame::{Encoding, Frame, Socket},
    outbox::{Flushed, Outbox, Scratch},
};
use crate::limits::Limits;

/// Names a session of a shard; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) index: u32,
    pub(super) serial: u32,
}

/// What a new session is allowed, and how to speak to it.
#[derive(Debug)]
pub struct SessionSetup {
    /// The client's socket.
    pub socket: Box<dyn Socket>,
    /// The client's format.
    pub encoding: &'static dyn Encoding,
    /// Whether it may publish.
    pub may_publish: bool,
}

/// A session's state; everything that may grow is bounded by the hub's limits.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) serial: u32,
    pub(super) admission: SessionSetup,
    pub(super) outbox: Outbox,
    /// Subscribed, or waiting for the broker to confirm.
    pub(super) channels: Vec<Channel>,
    /// Publications that wait for the broker, and questions for members.
    pub(super) unanswered: u32,
    /// Bytes of the outbox that its shard has counted.
    pub(super) held: u32,
    /// In the shard's list of sessions to flush.
    pub(super) dirty: bool,
    /// Since when the socket has taken nothing.
    pub(super) blocked_since: Option<Instant>,
    /// When the next ping is due, or, with `awaiting_pong`, the answer.
    pub(super) clock: Instant,
    pub(super) awaiting_pong: bool,
    /// Set once the last frame is queued: nothing else is sent, and at this time the socket is dropped.
    pub(super) ends_at: Option<Instant>,
    /// The task that reads this socket.
    pub(super) waker: Option<Waker>,
}

impl Session {
    pub(super) const fn new(serial: u32, admission: SessionSetup, first_ping: Instant) -> Self {
        Self {
            serial,
            admission,
            outbox: Outbox::new(),
            channels: Vec::new(),
            unanswered: 0,
            held: 0,
            dirty: false,
            blocked_since: None,
            clock: first_ping,
            awaiting_pong: false,
            ends_at: None,
            waker: None,
        }
    }

    /// Queues a frame, unless the session is ending. A full outbox is written first, and who doesn't take enough of
    /// it is cut off: `false`.
    pub(super) fn push(&mut self, frame: Frame, limits: &Limits, scratch: &mut Scratch) -> bool {
        if self.ends_at.is_some() {
            return true;
        }
        if self.outbox.is_full(limits) && (!self.flush(scratch) || self.outbox.is_full(limits)) {
            self.end(Ending::Slow, Instant::now() + limits.handshake_timeout / 2);
            self.wake();
            return false;
        }
        self.outbox.push(frame);
        true
    }

    /// Queues the last frame in place of everything not yet written.
    pub(super) fn end(&mut self, ending: Ending, drop_at: Instant) {
        if self.ends_at.is_none() {
            self.outbox.drop_unwritten();
            self.outbox.push(self.admission.encoding.ending(ending));
            self.ends_at = Some(drop_at);
        }
    }

    /// Writes what the socket takes. `false`: the socket is broken.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) -> bool {
        let before = self.outbox.bytes();
        match self.outbox.flush(&*self.admission.socket, scratch) {
            Flushed::Empty => self.blocked_since = None,
            Flushed::Blocked => {
                if self.blocked_since.is_none() || self.outbox.bytes() < before {
                    self.blocked_since = Some(Instant::now());
                    self.wake();
                }
            }
            Flushed::Broken => return false,
        }
        true
    }

    /// Lets the reading task look at the session again.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
