//! What a session may do: asked for each of its commands and for every HTTP route, in one place.
//! Who may get which grant is decided elsewhere, by `hubplane-identity`.

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

use crate::channel_limits::ChannelLimits;

/// Whom a session or a request speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// Somebody who showed nothing.
    Anonymous,
    /// A program that showed a key.
    Key,
    /// A user, whose token or whose own backend said so.
    User,
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
    /// To read the hub's counts. This concerns no channel.
    Metrics,
    /// To see how the hub is doing, with names and addresses, and to end other sessions. This
    /// concerns no channel.
    Operate,
}

/// What a grant allows, channel by channel. `hubplane-identity` makes it of keys, tokens and rules.
pub trait Permissions: fmt::Debug + Send + Sync {
    /// Returns true if the channel may be used in this way. Asked for each command, so it must be
    /// fast, and must not block.
    fn allows(&self, action: Action, channel: &str) -> bool;

    /// Returns false if no channel at all may be used in this way, as far as that is known. A
    /// request can then be refused before its body is read.
    fn allows_somewhere(&self, action: Action) -> bool {
        _ = action;
        true
    }

    /// Returns what asks somebody else, where [`Permissions::allows`] leaves it to them. `None` if
    /// that has decided. `data` is what is to be published.
    fn question(&self, action: Action, channel: &str, data: &[u8]) -> Option<Asking> {
        _ = (action, channel, data);
        None
    }

    /// Returns what holds on a channel beside the hub's own limits. Asked for each publish and each
    /// new subscription, so it must be fast, too.
    fn limits(&self, channel: &str) -> ChannelLimits {
        _ = channel;
        ChannelLimits::default()
    }
}

/// The answer of somebody who is asked; an error says why it is not allowed.
pub type Asking = Pin<Box<dyn Future<Output = Result<(), Unproven>> + Send>>;

/// How a grant decides.
#[derive(Clone, Debug)]
enum Allowed {
    /// Everything is allowed.
    Everything,
    /// All but publishing and operating is allowed.
    Listening,
    /// As these say.
    By(Arc<dyn Permissions>),
}

/// Whom a session or a request speaks for, what it may do, and until when. Every command and every
/// HTTP route asks [`Grant::allows`].
///
/// It may come with the connection or later ([`Command::Authenticate`](crate::command::Command::Authenticate)), and may be replaced. A session whose grant is
/// over is ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Grant {
    /// Whom the grant was given to.
    pub who: Who,
    /// The name of the user or of the key; `None` for those that have none.
    pub name: Option<Arc<str>>,
    /// The id of the token that it was given for (`jti`; RFC 7519, 4.1.7), if it has one.
    pub token_id: Option<Arc<str>>,
    /// When the grant is over; `None` if it has no end.
    pub until: Option<Instant>,
    /// What others may see of the user, as JSON; somebody who was asked has said so.
    pub info: Option<Arc<str>>,
    /// Channels to subscribe to at once.
    pub join: Arc<[Channel]>,
    allowed: Allowed,
}

impl Grant {
    /// Returns the grant of somebody who showed nothing, on a hub without rules: all but publishing
    /// and operating is allowed.
    pub fn anonymous() -> Self {
        Self::plain(Who::Anonymous, Allowed::Listening)
    }

    /// Returns the grant of somebody who showed the hub's key: everything is allowed.
    pub fn key() -> Self {
        Self::plain(Who::Key, Allowed::Everything)
    }

    fn plain(who: Who, allowed: Allowed) -> Self {
        Self {
            who,
            name: None,
            token_id: None,
            until: None,
            info: None,
            join: Arc::default(),
            allowed,
        }
    }

    /// Returns a grant that allows what `permissions` say.
    pub fn by(who: Who, permissions: Arc<dyn Permissions>) -> Self {
        Self::plain(who, Allowed::By(permissions))
    }

    /// Returns the same grant for the user or key of this name.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// Returns the same grant as that of a token with this id.
    pub fn of_token(self, id: impl Into<Arc<str>>) -> Self {
        Self {
            token_id: Some(id.into()),
            ..self
        }
    }

    /// Returns the same grant with what others may see of the user, as JSON.
    pub fn with_info(self, json: impl Into<Arc<str>>) -> Self {
        Self {
            info: Some(json.into()),
            ..self
        }
    }

    /// Returns the same grant with channels to subscribe to at once.
    pub fn joining(self, channels: Vec<String>) -> Self {
        Self {
            join: channels.into_iter().map(Channel::from).collect(),
            ..self
        }
    }

    /// Returns the same grant with an end.
    pub fn until(self, until: Instant) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }

    /// Returns the grant for sharing. The usual two, which have neither a name nor an end, are
    /// shared by all sessions.
    pub fn shared(self) -> Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Grant>> = LazyLock::new(|| Arc::new(Grant::anonymous()));
        static KEY: LazyLock<Arc<Grant>> = LazyLock::new(|| Arc::new(Grant::key()));
        let usual = self.name.is_none() && self.token_id.is_none() && self.until.is_none();
        match (self.who, &self.allowed) {
            (Who::Anonymous, Allowed::Listening) if usual => Arc::clone(&ANONYMOUS),
            (Who::Key, Allowed::Everything) if usual => Arc::clone(&KEY),
            _ => Arc::new(self),
        }
    }

    /// Returns true if the channel may be used in this way. No other place decides that.
    pub fn allows(&self, action: Action, channel: &str) -> bool {
        match &self.allowed {
            Allowed::Everything => true,
            Allowed::Listening => listens(action),
            Allowed::By(permissions) => permissions.allows(action, channel),
        }
    }

    /// Returns what asks somebody else whether the channel may be used in this way; `None` if
    /// [`Grant::allows`] has decided.
    pub fn question(&self, action: Action, channel: &str, data: &[u8]) -> Option<Asking> {
        match &self.allowed {
            Allowed::By(permissions) => permissions.question(action, channel, data),
            Allowed::Everything | Allowed::Listening => None,
        }
    }

    /// Returns false if no channel at all may be used in this way.
    pub fn allows_somewhere(&self, action: Action) -> bool {
        match &self.allowed {
            Allowed::Everything => true,
            Allowed::Listening => listens(action),
            Allowed::By(permissions) => permissions.allows_somewhere(action),
        }
    }

    /// Returns what its holder is held to on a channel.
    pub fn limits(&self, channel: &str) -> ChannelLimits {
        match &self.allowed {
            Allowed::Everything | Allowed::Listening => ChannelLimits::default(),
            Allowed::By(permissions) => permissions.limits(channel),
        }
    }

    /// Returns true if permissions decide for each channel, and not the kind of the grant alone.
    pub(crate) const fn is_by_rules(&self) -> bool {
        matches!(self.allowed, Allowed::By(_))
    }

    /// Returns true if the grant is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Returns how long the grant still holds; `None` if it has no end.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }
}

/// Returns true for what somebody may do who only listens.
const fn listens(action: Action) -> bool {
    match action {
        Action::Subscribe | Action::History | Action::Presence => true,
        Action::Publish | Action::Metrics | Action::Operate => false,
    }
}

/// Why a proof is not accepted: a sentence for the client. It shows nothing of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven(pub Cow<'static, str>);

/// Something that knows what a client may do that shows a proof.
pub trait Authority: fmt::Debug + Send + Sync {
    /// Returns the grant for a proof, such as a key or a token. Called on a shard's thread, so it
    /// must not block.
    ///
    /// # Errors
    /// The proof is not accepted.
    fn grant(&self, proof: &str) -> Result<Grant, Unproven>;
}

/// An authority that accepts no proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nobody;

impl Authority for Nobody {
    fn grant(&self, _proof: &str) -> Result<Grant, Unproven> {
        Err(Unproven("this proves nothing here".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One who may read one channel.
    #[derive(Debug)]
    struct OneChannel;

    impl Permissions for OneChannel {
        fn allows(&self, action: Action, channel: &str) -> bool {
            action == Action::Subscribe && channel == "mine"
        }
    }

    #[test]
    fn a_grant_ends_in_time_and_those_without_an_end_are_shared() {
        let now = Instant::now();
        let grant = Grant::key().until(now + Duration::from_secs(1));
        assert!(!grant.is_over(now) && grant.is_over(now + Duration::from_secs(1)));
        assert!(!Grant::key().is_over(now));
        assert!(Arc::ptr_eq(&Grant::key().shared(), &Grant::key().shared()));
        assert_eq!(grant.left(now), Some(Duration::from_secs(1)));
        let named = || Grant::key().named("orders").shared();
        assert!(!Arc::ptr_eq(&named(), &Grant::key().shared()));
    }

    #[test]
    fn permissions_decide_channel_by_channel() {
        let ann = Grant::by(Who::User, Arc::new(OneChannel)).named("ann");
        assert!(ann.allows(Action::Subscribe, "mine"));
        assert!(!ann.allows(Action::Subscribe, "yours"));
        assert!(!ann.allows(Action::Publish, "mine"));
    }

    #[test]
    fn the_key_may_do_everything_and_nobody_else_may_publish() {
        let (key, anonymous) = (Grant::key(), Grant::anonymous());
        for action in [Action::Subscribe, Action::History, Action::Presence] {
            assert!(key.allows(action, "c") && anonymous.allows(action, "c"));
        }
        for action in [Action::Publish, Action::Metrics, Action::Operate] {
            assert!(key.allows(action, "c") && !anonymous.allows(action, "c"));
        }
    }
}
