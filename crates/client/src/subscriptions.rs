//! What a client is subscribed to, and up to which position it has received each channel.
//!
//! Decides what to ask the hub, and which events follow from its answers. Knows no socket and no clock: `connection`
//! carries frames and events. A subscription stays here while there is no connection, so that the next one can go on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::json;

use super::{
    Event, NOT_RECOVERED, Presence, event::Message, presence, retries::Again, wire::Incoming,
};

/// One channel's state.
#[derive(Debug, Default)]
struct Subscription {
    /// The `ref` of the latest subscribe. An answer with another one is to an older question, and is ignored.
    reference: u64,
    /// The latest position that the client has; it goes on from there.
    position: Option<Box<str>>,
    /// The position that the program gave, if it did.
    since: Option<Box<str>>,
    /// Whether the program counts on messages from before this connection: it was subscribed once, or gave `since`. If
    /// the hub can't replay them, that is a gap.
    expects: bool,
    /// Whether the hub has confirmed it on this connection. Before that, what comes is from an older subscription.
    live: bool,
    presence: Option<Box<Presence>>,
    /// Whether the program waits for the members: the `ref` of the question, 0 before it was sent.
    question: Option<u64>,
    recent: Recent,
}

/// The last ids of a channel, to drop repetitions: in a set to be found, and in order to forget the oldest.
#[derive(Debug, Default)]
struct Recent {
    set: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Recent {
    /// Adds an id, and forgets the oldest if there are more than `most`. Returns false if it was there already.
    fn insert(&mut self, id: &str, most: usize) -> bool {
        let id = Arc::<str>::from(id);
        if !self.set.insert(Arc::clone(&id)) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

/// The subscriptions of one client.
#[derive(Debug)]
pub(super) struct Subscriptions {
    by_channel: HashMap<Box<str>, Subscription>,
    remember: usize,
}

impl Subscriptions {
    /// Returns an empty list that remembers so many ids for each channel.
    pub(super) fn new(remember: usize) -> Self {
        Self {
            by_channel: HashMap::new(),
            remember,
        }
    }

    /// Adds a subscription, which is still to be asked for. Returns false if it is there already; then nothing changes.
    pub(super) fn insert(
        &mut self,
        channel: &str,
        since: Option<Box<str>>,
        presence: Option<Box<Presence>>,
    ) -> bool {
        if self.by_channel.contains_key(channel) {
            return false;
        }
        let subscription = Subscription {
            expects: since.is_some(),
            position: since.clone(),
            since,
            presence,
            ..Subscription::default()
        };
        self.by_channel.insert(channel.into(), subscription);
        true
    }

    /// Removes a subscription. Returns false if there is none.
    pub(super) fn remove(&mut self, channel: &str) -> bool {
        self.by_channel.remove(channel).is_some()
    }

    /// Removes a subscription at the program's wish. Returns the unsubscribe to send, or `None` if there is no such
    /// subscription. It has a `ref`, so that an `unsubscribed` without one can only be the hub's own doing.
    pub(super) fn give_up(&mut self, channel: &str, reference: u64) -> Option<String> {
        let frame = json!({ "type": "unsubscribe", "ref": reference, "channel": channel });
        self.remove(channel).then(|| frame.to_string())
    }

    /// Removes a subscription that the hub has ended, because the broker no longer lets it receive the channel. Returns
    /// `None` if the program has given it up meanwhile.
    pub(super) fn ended_by_hub(
        &mut self,
        channel: Box<str>,
        why: Option<(Box<str>, Box<str>)>,
    ) -> Option<Event> {
        let (code, message) =
            why.unwrap_or_else(|| ("rejected".into(), "the hub has ended it".into()));
        self.remove(&channel).then_some(Event::Refused {
            channel,
            code,
            message,
        })
    }

    /// Returns all channels, to be asked for on a new connection.
    pub(super) fn channels(&self) -> Vec<Box<str>> {
        self.by_channel.keys().cloned().collect()
    }

    /// Notes that the connection has ended: nothing is confirmed until the hub answers on the next one.
    pub(super) fn down(&mut self) {
        for subscription in self.by_channel.values_mut() {
            subscription.live = false;
        }
    }

    /// Returns the subscribe to send, from where the client is, or `None` if the program has given it up meanwhile.
    pub(super) fn ask(&mut self, channel: &str, reference: u64) -> Option<String> {
        let subscription = self.by_channel.get_mut(channel)?;
        subscription.reference = reference;
        let mut ask = json!({ "type": "subscribe", "ref": reference, "channel": channel });
        if let Some(since) = &subscription.position {
            ask["since"] = (**since).into();
        }
        if let Some(presence) = &subscription.presence {
            ask["presence"] = json!(presence);
        }
        Some(ask.to_string())
    }

    /// Forgets the position that the client has come to. Returns false if there is none, or only that of the program, whose
    /// wish is refused as it is.
    pub(super) fn forget_position(&mut self, channel: &str) -> bool {
        let subscription = self.by_channel.get_mut(channel);
        let learnt = subscription.filter(|it| it.position != it.since);
        learnt.is_some_and(|it| it.position.take().is_some())
    }

    /// Notes that the program wants to know the members. Does nothing without a subscription.
    pub(super) fn want_members(&mut self, channel: &str) {
        if let Some(subscription) = self.by_channel.get_mut(channel) {
            subscription.question = Some(0);
        }
    }

    /// Returns the question for the members to send, or `None` if the program does not wait for them.
    pub(super) fn question(&mut self, channel: &str, reference: u64) -> Option<String> {
        let subscription = self.by_channel.get_mut(channel)?;
        *subscription.question.as_mut()? = reference;
        let question = json!({ "type": "presence", "ref": reference, "channel": channel });
        Some(question.to_string())
    }

    /// Takes a join, a leave, or the members. Returns its event, or `None` if the program did not ask for it.
    pub(super) fn presence(&mut self, frame: Incoming) -> Option<Event> {
        let subscription = self.by_channel.get_mut(frame.channel.as_deref()?)?;
        let told = match &*frame.kind {
            "presence" => subscription.question.take().is_some(),
            _ => subscription.live,
        };
        told.then(|| presence::event(frame)).flatten()
    }

    /// Takes a message. Returns its event, or `None` if it is a repetition or of no subscription. The position moves on
    /// in both cases: the program has had everything up to there.
    pub(super) fn message(&mut self, message: Message) -> Option<Event> {
        let subscription = self.by_channel.get_mut(&message.channel)?;
        if !subscription.live {
            return None;
        }
        if message.position.is_some() {
            subscription.position.clone_from(&message.position);
        }
        let new = message
            .id
            .as_deref()
            .is_none_or(|id| subscription.recent.insert(id, self.remember));
        new.then_some(Event::Message(message))
    }

    /// Takes the hub's notice of a gap. Returns its event, or `None` if there is no confirmed subscription.
    pub(super) fn gap(&self, channel: Box<str>, cause: Box<str>) -> Option<Event> {
        let live = self.by_channel.get(&channel)?.live;
        live.then_some(Event::Gap { channel, cause })
    }

    /// Takes the hub's confirmation. Returns the events that follow from it: a gap first, if the hub could not replay what
    /// the program counts on, so that the program hears of it before the first message behind the gap.
    pub(super) fn subscribed(
        &mut self,
        reference: u64,
        channel: Box<str>,
        position: Option<Box<str>>,
        recovered: bool,
    ) -> Vec<Event> {
        let Some(subscription) = self.by_channel.get_mut(&channel) else {
            return Vec::new();
        };
        if subscription.reference != reference {
            return Vec::new();
        }
        let mut events = Vec::new();
        if subscription.expects && !recovered {
            events.push(Event::Gap {
                channel: channel.clone(),
                cause: NOT_RECOVERED.into(),
            });
        }
        subscription.live = true;
        subscription.expects = true;
        // If the hub replays and names no position, the client's own still holds; without a replay it is void.
        if position.is_some() || !recovered {
            subscription.position.clone_from(&position);
        }
        events.push(Event::Subscribed {
            channel,
            position,
            recovered,
        });
        events
    }

    /// Returns what was asked with this reference, or `None` if it belongs to no subscription.
    pub(super) fn asked(&self, reference: u64) -> Option<Again> {
        self.by_channel.iter().find_map(|(channel, it)| {
            let channel = || channel.clone();
            match it.reference == reference {
                true => Some(Again::Subscribe(channel())),
                false => (it.question == Some(reference)).then(|| Again::Question(channel())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u32) -> Message {
        let text = format!(r#"{{"channel":"c","data":{n},"position":"e-0-{n}","id":"i{n}"}}"#);
        let text = text.replacen('{', r#"{"type":"message","#, 1);
        serde_json::from_str(&text).unwrap()
    }

    fn causes(events: &[Event]) -> Vec<&str> {
        let cause = |event: &'_ Event| matches!(event, Event::Gap { .. });
        events
            .iter()
            .map(|event| if cause(event) { "gap" } else { "subscribed" })
            .collect()
    }

    #[test]
    fn it_goes_on_where_it_was_and_drops_repetitions() {
        let mut all = Subscriptions::new(2);
        assert!(all.insert("c", None, None) && !all.insert("c", None, None));
        assert!(!all.ask("c", 1).unwrap().contains("since"));
        assert!(all.message(message(1)).is_none(), "not answered yet");
        assert_eq!(
            causes(&all.subscribed(1, "c".into(), None, false)),
            ["subscribed"]
        );
        assert!(all.message(message(1)).is_some());
        assert!(all.message(message(1)).is_none());
        all.down();
        assert!(all.message(message(2)).is_none());
        assert!(all.ask("c", 2).unwrap().contains(r#""since":"e-0-1""#));
        assert!(
            all.subscribed(1, "c".into(), None, false).is_empty(),
            "an older answer"
        );
        let back = all.subscribed(2, "c".into(), Some("e-0-1".into()), true);
        assert_eq!(causes(&back), ["subscribed"]);
        assert!(all.message(message(1)).is_none());
        assert!(all.message(message(2)).is_some() && all.message(message(3)).is_some());
        assert!(all.message(message(1)).is_some(), "no longer remembered");
    }

    #[test]
    fn what_was_not_recovered_is_a_gap_also_without_positions() {
        let mut all = Subscriptions::new(2);
        all.insert("c", None, None);
        all.insert("d", Some("e-0-1".into()), None);
        all.ask("c", 1);
        all.ask("d", 2);
        all.subscribed(1, "c".into(), None, false);
        let answer = all.subscribed(2, "d".into(), Some("f-0-1".into()), false);
        assert_eq!(causes(&answer), ["gap", "subscribed"]);
        all.down();
        all.ask("c", 3);
        assert!(all.ask("d", 4).unwrap().contains("f-0-1"));
        let answer = all.subscribed(3, "c".into(), None, false);
        assert_eq!(causes(&answer), ["gap", "subscribed"]);
        assert_eq!(all.asked(4), Some(Again::Subscribe("d".into())));
    }

    #[test]
    fn it_takes_part_again_and_hears_only_what_is_its_own() {
        let frame = |kind: &str, rest: &str| {
            let text = format!(r#"{{"type":"{kind}","channel":"c",{rest}}}"#);
            serde_json::from_str::<Incoming>(&text).unwrap()
        };
        let join = || frame("join", r#""client":"a","user":null,"info":[1]"#);
        let members = || {
            frame(
                "presence",
                r#""count":2,"members":[{"client":"a"}],"more":true"#,
            )
        };
        let mut all = Subscriptions::new(2);
        let presence = Presence {
            client: Some("me".into()),
            watch: true,
            ..Presence::default()
        };
        all.insert("c", None, Some(Box::new(presence)));
        for reference in [1, 3] {
            let asked = all.ask("c", reference).unwrap();
            assert!(
                asked.contains(r#""presence":{"client":"me","watch":true}"#),
                "{asked}"
            );
            assert!(all.presence(join()).is_none(), "not answered yet");
            all.subscribed(reference, "c".into(), None, false);
            assert!(
                matches!(all.presence(join()), Some(Event::Join { member, .. })
                if member.info.as_ref().unwrap().get() == "[1]")
            );
            assert!(all.question("c", 9).is_none() && all.presence(members()).is_none());
            all.want_members("c");
            assert!(all.question("c", reference + 1).is_some());
            assert_eq!(all.asked(reference + 1), Some(Again::Question("c".into())));
            assert!(
                matches!(all.presence(members()), Some(Event::Members(it)) if it.more && it.count == 2)
            );
            all.down();
        }
    }
}
