//! What the hub could not do for now, and when it is asked again.

use std::collections::VecDeque;

use tokio::time::Instant;

/// One thing to try again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The publishes, which are held back meanwhile.
    Publishes,
    /// To subscribe to this channel.
    Subscribe(Box<str>),
    /// To know the members of this channel.
    Question(Box<str>),
}

/// At most two a subscription, and one for the publishes.
#[derive(Debug, Default)]
pub(super) struct Retries(VecDeque<(Instant, Again)>);

impl Retries {
    /// The next.
    pub(super) fn at(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    pub(super) fn has(&self, what: &Again) -> bool {
        self.0.iter().any(|(_, known)| known == what)
    }

    pub(super) fn add(&mut self, at: Instant, what: Again) {
        self.0.push_back((at, what));
    }

    /// Takes out what is due.
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
