//! One client connection, as its shard keeps it.

use std::{sync::Arc, task::Waker, time::Instant};

use super::{
    command::Ending,
    frame::{Encoding, Frame, Socket},
    grant::Grant,
    outbox::{Flushed, Outbox, Scratch},
    shard::subscription::Subscription,
};
use crate::limits::Limits;

/// What a new session is allowed, and how to speak to it.
#[derive(Debug)]
pub struct SessionSetup {
    /// The client's socket.
    pub socket: Box<dyn Socket>,
    /// The client's format, on its transport.
    pub encoding: &'static Encoding,
    /// What it may do.
    pub grant: Arc<Grant>,
}

/// What a session's clock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next ping is due then.
    Quiet,
    /// The answer to a ping is due then.
    AwaitingPong,
    /// The last frame is queued: nothing else is sent, and the socket is dropped then.
    Ending,
}

/// A session's state; everything that may grow is bounded by the hub's limits.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) serial: u32,
    pub(super) setup: SessionSetup,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Vec<Subscription>,
    /// Publications that wait for the broker, and questions for members.
    pub(super) unanswered: u32,
    /// Bytes of the outbox that its shard has counted.
    pub(super) held: u32,
    /// In the shard's list of sessions to flush.
    pub(super) dirty: bool,
    /// The socket is not read for now, so an answer to a ping may lie in it unread.
    pub(super) unread: bool,
    /// Since when the socket has taken nothing.
    pub(super) blocked_since: Option<Instant>,
    pub(super) phase: Phase,
    /// When what the phase waits for is due.
    pub(super) clock: Instant,
    /// The task that reads this socket.
    pub(super) waker: Option<Waker>,
}

impl Session {
    pub(super) const fn new(serial: u32, setup: SessionSetup, first_ping: Instant) -> Self {
        Self {
            serial,
            setup,
            outbox: Outbox::new(),
            subscriptions: Vec::new(),
            unanswered: 0,
            held: 0,
            dirty: false,
            unread: false,
            blocked_since: None,
            phase: Phase::Quiet,
            clock: first_ping,
            waker: None,
        }
    }

    /// Writes a full outbox. Returns false if the client takes so little that it is full still; the session is then closed
    /// with [`Ending::Slow`].
    #[cold]
    pub(super) fn relieve(&mut self, limits: &Limits, scratch: &mut Scratch) -> bool {
        if self.flush(scratch) && !self.outbox.is_full(limits) {
            return true;
        }
        self.end(Ending::Slow, Instant::now() + limits.handshake_timeout / 2);
        self.wake();
        false
    }

    /// The head that a push has for one of the session's subscriptions, if its format has such.
    pub(super) fn head(&self, at: u32, tail: &Frame) -> Option<Frame> {
        let encoding = self.setup.encoding;
        encoding.format.features().heads.then(|| {
            let subscription = &self.subscriptions[at as usize];
            encoding.head(subscription.tag(), tail)
        })
    }

    /// Queues the last frame in place of everything not yet written.
    pub(super) fn end(&mut self, ending: Ending, drop_at: Instant) {
        if !self.is_ending() {
            self.outbox.drop_unwritten();
            self.end_with(self.setup.encoding.ending(ending), drop_at);
        }
    }

    /// Queues the last frame behind everything else.
    pub(super) fn end_with(&mut self, frame: Frame, drop_at: Instant) {
        if !self.is_ending() {
            self.outbox.push(frame);
            self.phase = Phase::Ending;
            self.clock = drop_at;
        }
    }

    /// Returns true if so much of the client's waits for an answer that no more of it is carried out for now. What an
    /// ending session still sends is not carried out at all.
    pub(super) fn is_paused(&self, limits: &Limits) -> bool {
        self.unanswered as usize >= limits.session_publishes && !self.is_ending()
    }

    /// Whether the last frame is queued.
    pub(super) fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
    }

    /// Writes what the socket takes. Returns false if the socket is broken.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) -> bool {
        let before = self.outbox.bytes();
        match self.outbox.flush(&*self.setup.socket, scratch) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The allocator's next size is 224 bytes, and an instance has a hundred thousand sessions.
    #[test]
    fn a_session_stays_small() {
        assert!(size_of::<Session>() <= 192, "{}", size_of::<Session>());
        assert!(size_of::<Subscription>() <= 32);
    }
}
