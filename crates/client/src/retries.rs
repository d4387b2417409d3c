//! What the hub could not do for now, and when the client asks again. Knows no clock: the time comes in.
//!
//! A retry belongs to one connection. A new connection asks for everything again, so `connection` clears this list.

use std::collections::VecDeque;

use tokio::time::Instant;

/// One thing to try again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Sending publishes. All are held back until then: their order must not change.
    Publishes,
    /// Subscribing to this channel.
    Subscribe(Box<str>),
    /// Asking who is on this channel.
    Question(Box<str>),
}

/// The retries that wait. At most two for each subscription and one for the publishes, since nothing is in it twice; so a
/// list that is searched from its start is enough.
#[derive(Debug, Default)]
pub(super) struct Retries(VecDeque<(Instant, Again)>);

impl Retries {
    /// Returns when the next retry is due, or `None` if nothing waits.
    pub(super) fn at(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    /// Returns whether this waits already.
    pub(super) fn has(&self, what: &Again) -> bool {
        self.0.iter().any(|(_, known)| known == what)
    }

    /// Adds a retry; the caller has asked [`Retries::has`].
    pub(super) fn add(&mut self, at: Instant, what: Again) {
        self.0.push_back((at, what));
    }

    /// Removes and returns what is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Again> {
        let (due, later) = self.0.drain(..).partition(|(at, _)| *at <= now);
        self.0 = later;
        let due: VecDeque<_> = due;
        due.into_iter().map(|(_, what)| what).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
