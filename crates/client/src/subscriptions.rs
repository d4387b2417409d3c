//! What a client is subscribed to, and up to where it has heard. No sockets here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::json;

use super::{
    Event, NOT_RECOVERED, Presence, event::Message, presence, retries::Again, wire::Incoming,
};

#[derive(Debug, Default)]
struct Subscription {
    /// Of the subscribe that waits for its answer, or was answered.
    reference: u64,
    position: Option<Box<str>>,
    /// It has a past: what can't be recovered may have been missed.
    expects: bool,
    /// Answered on this connection.
    live: bool,
    presence: Option<Box<Presence>>,
    /// Somebody waits for its members; the question's reference, once it was sent.
    question: Option<u64>,
    recent: Recent,
}

/// The last ids, to drop repetitions.
#[derive(Debug, Default)]
struct Recent {
    set: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Recent {
    /// Returns false if it was there already.
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

#[derive(Debug)]
pub(super) struct Subscriptions {
    by_channel: HashMap<Box<str>, Subscription>,
    remember: usize,
}

impl Subscriptions {
    pub(super) fn new(remember: usize) -> Self {
        Self {
            by_channel: HashMap::new(),
            remember,
        }
    }

    /// Returns false if it is there already.
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
            position: since,
            presence,
            ..Subscription::default()
        };
        self.by_channel.insert(channel.into(), subscription);
        true
    }

    pub(super) fn remove(&mut self, channel: &str) -> bool {
        self.by_channel.remove(channel).is_some()
    }

    /// The unsubscribe to send, if there is such a subscription. With a `ref`, so that an answer without one is the hub's
    /// own doing.
    pub(super) fn give_up(&mut self, channel: &str, reference: u64) -> Option<String> {
        let frame = json!({ "type": "unsubscribe", "ref": reference, "channel": channel });
        self.remove(channel).then(|| frame.to_string())
    }

    /// The broker does not let the hub receive a channel any more. What the program has given up itself is no news.
    pub(super) fn ended_by_hub(&mut self, channel: Box<str>) -> Option<Event> {
        let message = "the broker does not let the hub receive the channel any more";
        self.remove(&channel).then(|| Event::Refused {
            channel,
            code: "rejected".into(),
            message: message.into(),
        })
    }

    pub(super) fn channels(&self) -> Vec<Box<str>> {
        self.by_channel.keys().cloned().collect()
    }

    /// The connection has ended.
    pub(super) fn down(&mut self) {
        for subscription in self.by_channel.values_mut() {
            subscription.live = false;
        }
    }

    /// The subscribe to send.
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

    /// Somebody wants to know the members.
    pub(super) fn want_members(&mut self, channel: &str) {
        if let Some(subscription) = self.by_channel.get_mut(channel) {
            subscription.question = Some(0);
        }
    }

    /// The question to send, where somebody waits for the answer.
    pub(super) fn question(&mut self, channel: &str, reference: u64) -> Option<String> {
        let subscription = self.by_channel.get_mut(channel)?;
        *subscription.question.as_mut()? = reference;
        let question = json!({ "type": "presence", "ref": reference, "channel": channel });
        Some(question.to_string())
    }

    /// A join, a leave, or the members.
    pub(super) fn presence(&mut self, frame: Incoming) -> Option<Event> {
        let subscription = self.by_channel.get_mut(frame.channel.as_deref()?)?;
        let told = match &*frame.kind {
            "presence" => subscription.question.take().is_some(),
            _ => subscription.live,
        };
        told.then(|| presence::event(frame)).flatten()
    }

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

    pub(super) fn gap(&self, channel: Box<str>, cause: Box<str>) -> Option<Event> {
        let live = self.by_channel.get(&channel)?.live;
        live.then_some(Event::Gap { channel, cause })
    }

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

    /// What was asked with this reference.
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
