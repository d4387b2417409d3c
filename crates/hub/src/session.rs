//! One client connection, as its shard keeps it: its outbox, its subscriptions and its clock.
//!
//! A session has no task and no buffer of its own here, and it stays small, since an instance may
//! have a hundred thousand. It knows neither the format nor the transport, only the [`Encoding`]
//! and the [`Socket`] that it was given.

use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use super::{
    channel_limits::ChannelLimits,
    command::Ending,
    frame::{Encoding, Frame, Socket},
    grant::Grant,
    outbox::{Dropped, Flushed, Outbox, Scratch},
    shard::subscription::Subscription,
};
use crate::limits::Limits;

/// How long before the end of a session's grant its client is told, so that it can show a new token.
pub(super) const WARNING: Duration = Duration::from_secs(25);

/// What is unanswered while somebody else is asked about the session's last command: a bit above
/// every count that the limits let come, since a field of its own would make each session larger.
const ASKING: u32 = 1 << 31;

/// What a new session is given: its socket, its format and its grant.
#[derive(Debug)]
pub struct SessionSetup {
    /// The client's socket.
    pub socket: Box<dyn Socket>,
    /// The client's format, on its transport.
    pub encoding: &'static Encoding,
    /// What the client may do.
    pub grant: Arc<Grant>,
}

/// What a session's clock waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The clock says when the next ping is due.
    Quiet,
    /// The clock says when the answer to a ping is due.
    AwaitingPong,
    /// The last frame is queued, and nothing else is sent. The clock says when the socket is
    /// dropped.
    Ending,
}

/// A session's state. Everything in it that may grow is bounded by the hub's limits.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) serial: u32,
    pub(super) setup: SessionSetup,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Vec<Subscription>,
    /// Publications that wait for the broker, and questions for members; and [`ASKING`].
    pub(super) unanswered: u32,
    /// Bytes of the outbox as its shard has counted them last.
    pub(super) held: u32,
    /// True while it stands in the shard's list of sessions to flush.
    pub(super) dirty: bool,
    /// True once the client was told that its grant will soon be over.
    pub(super) warned: bool,
    /// True while the socket is not read, so that an answer to a ping may lie in it unread.
    pub(super) unread: bool,
    /// Since when the socket has taken nothing, `None` if it takes.
    pub(super) blocked_since: Option<Instant>,
    pub(super) phase: Phase,
    /// When what the phase waits for is due.
    pub(super) clock: Instant,
    /// Wakes the task that reads this socket.
    pub(super) waker: Option<Waker>,
}

impl Session {
    /// A session that has sent nothing yet, whose first ping is due at `first_ping`.
    pub(super) const fn new(serial: u32, setup: SessionSetup, first_ping: Instant) -> Self {
        Self {
            serial,
            setup,
            outbox: Outbox::new(),
            subscriptions: Vec::new(),
            unanswered: 0,
            held: 0,
            dirty: false,
            warned: false,
            unread: false,
            blocked_since: None,
            phase: Phase::Quiet,
            clock: first_ping,
            waker: None,
        }
    }

    /// Writes a full outbox at once, and drops what rules let drop if it is still full. Returns
    /// false if that is not enough, because the client takes too little; the session then ends with
    /// [`Ending::Slow`]. Returns also what was dropped.
    #[cold]
    pub(super) fn relieve(&mut self, limits: &Limits, scratch: &mut Scratch) -> (bool, Dropped) {
        let mut dropped = Dropped::default();
        // Where messages may be dropped, a blocked socket is not tried again for each of them, but
        // only before the session ends.
        if self.outbox.is_shaped() && self.blocked_since.is_some() {
            dropped = self.outbox.make_room(limits, self.setup.encoding);
        }
        if !self.outbox.is_full(limits) {
            return (true, dropped);
        }
        if self.flush(scratch) {
            let more = self.outbox.make_room(limits, self.setup.encoding);
            dropped = dropped.and(more);
            if !self.outbox.is_full(limits) {
                return (true, dropped);
            }
        }
        self.end(Ending::Slow, Instant::now() + limits.handshake_timeout / 2);
        self.wake();
        (false, dropped)
    }

    /// Returns what this session is held to on a channel, asked once for each subscription and each
    /// publish. This is the one place to ask the session's grant for it.
    pub(super) fn limits_of(&self, channel: &str) -> ChannelLimits {
        self.setup.grant.limits(channel)
    }

    /// Returns the head that a push has for one of the session's subscriptions, `None` if its
    /// format has no heads.
    pub(super) fn head(&self, at: u32, tail: &Frame) -> Option<Frame> {
        let encoding = self.setup.encoding;
        encoding.format.features().heads.then(|| {
            let subscription = &self.subscriptions[at as usize];
            encoding.head(subscription.tag(), tail)
        })
    }

    /// Queues the last frame in place of everything that is not yet written. The session is dropped
    /// at `drop_at`.
    pub(super) fn end(&mut self, ending: Ending, drop_at: Instant) {
        if !self.is_ending() {
            self.outbox.drop_unwritten();
            self.end_with(self.setup.encoding.ending(ending), drop_at);
        }
    }

    /// Queues the last frame behind everything else. Does nothing if the session is ending already.
    pub(super) fn end_with(&mut self, frame: Frame, drop_at: Instant) {
        if !self.is_ending() {
            self.outbox.push(frame);
            self.phase = Phase::Ending;
            self.clock = drop_at;
        }
    }

    /// Returns true if so much of the client's waits for an answer that no more of it is carried
    /// out for now. An ending session is never paused: what it still sends is not carried out at
    /// all.
    pub(super) fn is_paused(&self, limits: &Limits) -> bool {
        let waits = self.unanswered as usize >= limits.session_publishes;
        waits && !self.is_ending()
    }

    /// Notes that somebody else is asked about its last command, or has answered.
    pub(super) const fn set_asking(&mut self, asking: bool) {
        match asking {
            true => self.unanswered |= ASKING,
            false => self.unanswered &= !ASKING,
        }
    }

    /// Returns the seconds that are left of the session's grant if the client is to be told of them
    /// now; that happens once for each grant.
    pub(super) fn expiring(&mut self, now: Instant) -> Option<u64> {
        let left = self.setup.grant.left(now)?;
        if self.warned || self.is_ending() || left > WARNING {
            return None;
        }
        self.warned = true;
        Some(left.as_secs())
    }

    /// Returns true if the last frame is queued.
    pub(super) fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
    }

    /// Writes what the socket takes. Returns false if the socket is broken.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) -> bool {
        let before = self.outbox.bytes();
        match self.outbox.flush(&*self.setup.socket, scratch) {
            Flushed::Empty => self.blocked_since = None,
            Flushed::Blocked => {
                // A socket that takes a little is slow, not stuck: its time begins anew.
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
