//! What a session may do: asked for each of its commands and for every HTTP route, in one place.
//! Who may get which grant is decided elsewhere, by `hubplane-identity`.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Instant,
};

/// Whom a session or a request speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// Somebody who showed nothing.
    Anonymous,
    /// Somebody who showed the hub's key.
    Key,
}

/// What somebody wants to do with a channel, or with the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// To receive what is published from now on.
    Subscribe,
    /// To publish.
    Publish,
    /// To read what was published before.
    History,
    /// To see who is on a channel, or to be seen there.
    Presence,
    /// To see how the hub is doing, with names and addresses. This concerns no channel.
    Operate,
}

/// Whom a session or a request speaks for, what it may do, and until when. Every command and every
/// HTTP route asks [`Grant::allows`].
///
/// It may come with the connection or later ([`Command::Authenticate`](crate::command::Command::Authenticate)), and may be replaced. A session whose grant is
/// over is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Whom the grant was given to.
    pub who: Who,
    /// True if messages may be published.
    pub may_publish: bool,
    /// When the grant is over; `None` if it has no end.
    pub until: Option<Instant>,
}

impl Grant {
    /// Returns the grant of somebody who showed nothing: all but publishing and operating is
    /// allowed.
    pub const fn anonymous() -> Self {
        Self {
            who: Who::Anonymous,
            may_publish: false,
            until: None,
        }
    }

    /// Returns the grant of somebody who showed the hub's key: everything is allowed.
    pub const fn key() -> Self {
        Self {
            who: Who::Key,
            may_publish: true,
            until: None,
        }
    }

    /// Returns the same grant with an end.
    pub const fn until(self, until: Instant) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }

    /// Returns the grant for sharing. The usual two, which have no end, are shared by all sessions.
    pub fn shared(self) -> Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Grant>> = LazyLock::new(|| Arc::new(Grant::anonymous()));
        static KEY: LazyLock<Arc<Grant>> = LazyLock::new(|| Arc::new(Grant::key()));
        let known = [&*ANONYMOUS, &*KEY].into_iter().find(|it| ***it == self);
        known.map_or_else(|| Arc::new(self), Arc::clone)
    }

    /// Returns true if the channel may be used in this way. No other place decides that.
    pub fn allows(&self, action: Action, channel: &str) -> bool {
        // Rules for single channels would stand here.
        _ = channel;
        match action {
            Action::Subscribe | Action::History | Action::Presence => true,
            Action::Publish => self.may_publish,
            Action::Operate => self.who == Who::Key,
        }
    }

    /// Returns true if the grant is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Something that knows what a client may do that shows a proof.
pub trait Authority: fmt::Debug + Send + Sync {
    /// Returns the grant for a proof, such as a key or a token. `None` if it proves nothing. Called
    /// on a shard's thread, so it must not block.
    fn grant(&self, proof: &str) -> Option<Grant>;
}

/// An authority that accepts no proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nobody;

impl Authority for Nobody {
    fn grant(&self, _proof: &str) -> Option<Grant> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_grant_ends_in_time_and_those_without_an_end_are_shared() {
        let now = Instant::now();
        let grant = Grant::key().until(now + Duration::from_secs(1));
        assert!(!grant.is_over(now) && grant.is_over(now + Duration::from_secs(1)));
        assert!(!Grant::key().is_over(now));
        assert!(Arc::ptr_eq(&Grant::key().shared(), &Grant::key().shared()));
        assert_eq!(*grant.shared(), grant);
    }

    #[test]
    fn the_key_may_do_everything_and_nobody_else_may_publish() {
        let (key, anonymous) = (Grant::key(), Grant::anonymous());
        for action in [Action::Subscribe, Action::History, Action::Presence] {
            assert!(key.allows(action, "c") && anonymous.allows(action, "c"));
        }
        for action in [Action::Publish, Action::Operate] {
            assert!(key.allows(action, "c") && !anonymous.allows(action, "c"));
        }
    }
}
