//! How subscriptions come and go.
//!
//! A subscription is in two lists, its session's and its channel's, and each list knows the place
//! in the other; whatever moves an entry must correct the other list at once. A channel that nobody
//! here subscribes to any more is removed, and so is the interest in it.
//!
//! This file does not know how interest reaches the broker (`interest.rs`), nor how a client's past
//! is found (`recover.rs`).

use hubplane_backplane::Channel;

use super::{
    ShardState,
    presence::code,
    subscription::{Request, Stage, Subscription, Waiting, WaitsFor},
    topic::Subscriber,
};
use crate::{
    Hub,
    command::{ErrorCode, Reply, Tag, Which},
    key::Key,
    key::SubscriptionKey,
    outbox::Slot,
    session::Session,
};

impl ShardState {
    /// Begins a subscription. The client is answered when the broker carries the channel to here,
    /// or at once with an error if its name, its tag or the number of subscriptions is not allowed.
    pub(super) fn subscribe(
        &mut self,
        hub: &Hub,
        key: Key,
        (channel, tag): (Channel, Option<Tag>),
        request: Request,
    ) {
        let reference = request.reference.as_deref();
        if !self.is_good(hub, key, reference, &channel) {
            return;
        }
        // Looked up by number from here on, so that names are hashed once.
        let known = self.topics.find(&channel);
        let Some(session) = self.session(key) else {
            return;
        };
        let same = |it: &&mut Subscription| Some(it.topic) == known && it.tag == tag;
        if let Some(subscription) = session.subscriptions.iter_mut().find(same) {
            // The first request is not answered yet; this one gets its answer after it.
            if let Some(waiting) = subscription.waiting() {
                waiting.again.push(request);
                session.unanswered += 1;
                return;
            }
            return self.subscribe_again(hub, key, &channel, (tag, request));
        }
        // Only a new subscription counts against the limit.
        let most = hub.limits().subscriptions;
        if session.subscriptions.len() >= most {
            let message =
                format!("a session may subscribe to {most} channels; unsubscribe from one first");
            return self.refuse(hub, key, reference, (ErrorCode::LimitReached, &message));
        }
        // A tag names one subscription of the session, whatever the channel.
        if tag.is_some() && session.subscriptions.iter().any(|it| it.tag == tag) {
            let message = "this session has another subscription with that id";
            return self.refuse(hub, key, reference, (ErrorCode::Malformed, message));
        }
        let slow = session.limits_of(&channel).slow;
        let slot = Slot::new((&channel, tag.as_ref()), slow, request.max_rate);
        let topic = known.unwrap_or_else(|| {
            // The first subscriber of this channel on this shard: the broker may have to be asked
            // for it.
            let ready = hub.interest().add(self.index, &channel);
            let topic = self.topics.add(channel);
            self.topics[topic].ready = ready;
            topic
        });
        let waiting = self.add(key, topic, (tag, request));
        if let Some(slot) = slot {
            let last = self.sessions[key.index as usize].subscriptions.len() - 1;
            self.shape(key, last, slot);
        }
        // Otherwise the broker's answer goes on with it.
        if self.topics[topic].ready {
            self.admit(hub, waiting);
        }
    }

    /// Adds a subscription that waits to the lists of its session and its channel. Returns its key.
    fn add(
        &mut self,
        session: Key,
        topic: u32,
        (tag, request): (Option<Tag>, Request),
    ) -> SubscriptionKey {
        // Never used again: an answer for an earlier subscription finds nothing.
        let serial = self.next_subscription;
        self.next_subscription += 1;
        let list = &mut self.sessions[session.index as usize].subscriptions;
        if list.is_empty() {
            // Most sessions have one subscription, and a Vec would begin with room for four.
            list.reserve_exact(1);
        }
        let at = u32::try_from(list.len()).expect("invariant: a session has few subscriptions");
        let subscriber = Subscriber {
            session: session.index,
            at,
        };
        let waiting = Waiting {
            serial,
            request,
            again: Vec::new(),
            on: WaitsFor::Interest,
        };
        list.push(Subscription {
            topic,
            place: self.topics[topic].add(subscriber),
            stage: Stage::Waiting(Box::new(waiting)),
            tag,
        });
        SubscriptionKey { session, serial }
    }

    /// Answers a client that asks once more for a subscription that it has: it learns where the
    /// channel stands, and may take part in its presence in another way.
    pub(super) fn subscribe_again(
        &mut self,
        hub: &Hub,
        key: Key,
        channel: &Channel,
        (tag, request): (Option<Tag>, Request),
    ) {
        let reference = request.reference.as_deref();
        if let Some(presence) = request.presence
            && let Err(refusal) = self.attend(hub, channel, key.index, *presence)
        {
            let error = (code(refusal), &*refusal.to_string());
            return self.refuse(hub, key, reference, error);
        }
        if let Some(rate) = request.max_rate {
            self.set_rate(key, channel, tag.as_ref(), rate);
        }
        let position = self.head(hub, channel);
        let reply = Reply::Subscribed {
            reference,
            channel,
            tag: tag.as_deref(),
            position,
            // Nothing is given again, so a client counts as recovered only where it has missed
            // nothing.
            recovered: request.since.is_some() && request.since == position,
            missed: &[],
            members: None,
        };
        self.reply(hub, key, &reply);
    }

    /// Ends one subscription at its client's wish. The client is told if it has no such
    /// subscription.
    pub(super) fn unsubscribe(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        which: &Which,
    ) {
        // A tag alone names a subscription, so no channel is looked up for it.
        let topic = match which {
            Which::Channel(channel) => self.topics.find(channel),
            Which::Tag(_) => None,
        };
        let Some(session) = self.session(key) else {
            return;
        };
        let at = session.subscriptions.iter().position(|it| match which {
            Which::Channel(_) => Some(it.topic) == topic && it.tag.is_none(),
            Which::Tag(tag) => it.tag.as_ref() == Some(tag),
        });
        let Some(at) = at else {
            let message = match which {
                Which::Channel(_) => "this session is not subscribed to that channel",
                Which::Tag(_) => "this session has no subscription with that id",
            };
            return self.refuse(hub, key, reference, (ErrorCode::NotSubscribed, message));
        };
        let topic = session.subscriptions[at].topic;
        let channel = Channel::clone(&self.topics[topic].channel);
        let subscription = self.leave(hub, key.index, at);
        let reply = Reply::Unsubscribed {
            reference,
            channel: &channel,
            tag: subscription.tag.as_deref(),
        };
        self.reply(hub, key, &reply);
    }

    /// Takes a subscription off its session and its channel, whatever it still waits for, and
    /// returns it. Presence and interest end with the last one.
    pub(super) fn leave(&mut self, hub: &Hub, session: u32, at: usize) -> Subscription {
        let Session {
            subscriptions: list,
            outbox,
            ..
        } = &mut *self.sessions[session as usize];
        outbox.unshape(at as u32, (list.len() - 1) as u32);
        // The last of the session's list takes the free place; its channel must know.
        let mut subscription = list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            self.topics[moved.topic].renumber(moved.place, at as u32);
        }
        // From here on the value is in no list.
        let topic = subscription.topic;
        let another = list.iter().any(|it| it.topic == topic);
        let sessions = &mut self.sessions;
        self.topics[topic].remove(subscription.place, |other, place| {
            sessions[other.session as usize].subscriptions[other.at as usize].place = place;
        });
        if !another && !self.attending.is_empty() {
            let channel = Channel::clone(&self.topics[topic].channel);
            self.absent(hub, &channel, session);
        }
        // Requests that now get no answer must not count as unanswered for ever. Its own was never
        // counted.
        if let Some(waiting) = subscription.waiting() {
            let again = u32::try_from(waiting.again.len()).unwrap_or(u32::MAX);
            self.sessions[session as usize].unanswered -= again;
            if let WaitsFor::Head(ticket) = waiting.on {
                self.ahead.remove(ticket);
            }
        }
        if let Some(channel) = self.topics.remove_unused(topic) {
            hub.interest().remove(self.index, &channel);
        }
        subscription
    }

    /// Returns a subscription if it still waits, else `None`.
    pub(super) fn waiting(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        let session = self.session(key.session)?;
        let mut all = session.subscriptions.iter_mut();
        all.find(|it| it.is(key.serial))
    }

    /// Ends a subscription that can't begin, and answers it and the requests that came for it
    /// meanwhile with `error`.
    pub(super) fn reject(&mut self, hub: &Hub, key: SubscriptionKey, error: (ErrorCode, &str)) {
        let Some(session) = self.session(key.session) else {
            return;
        };
        let all = session.subscriptions.iter();
        let Some(at) = all.into_iter().position(|it| it.is(key.serial)) else {
            return;
        };
        let subscription = self.leave(hub, key.session.index, at);
        let Stage::Waiting(waiting) = subscription.stage else {
            return;
        };
        for request in std::iter::once(waiting.request).chain(waiting.again) {
            self.refuse(hub, key.session, request.reference.as_deref(), error);
        }
        // The refusals above have counted down what was unanswered.
        self.wake(key.session);
    }

    /// Ends one subscription that its client has not given up: the client is told why, and then
    /// that it is no longer subscribed.
    pub(super) fn end_subscription(
        &mut self,
        hub: &Hub,
        key: Key,
        at: usize,
        error: (ErrorCode, &str),
    ) {
        let topic = self.sessions[key.index as usize].subscriptions[at].topic;
        let channel = Channel::clone(&self.topics[topic].channel);
        let subscription = self.leave(hub, key.index, at);
        let tag = subscription.tag;
        match subscription.stage {
            // One that has not begun is answered with the error alone.
            Stage::Waiting(waiting) => {
                for request in std::iter::once(waiting.request).chain(waiting.again) {
                    self.refuse(hub, key, request.reference.as_deref(), error);
                }
                self.wake(key);
            }
            Stage::Live => {
                self.refuse(hub, key, None, error);
                let reply = Reply::Unsubscribed {
                    reference: None,
                    channel: &channel,
                    tag: tag.as_deref(),
                };
                self.reply(hub, key, &reply);
            }
        }
    }

    /// Lets the session's task look again whether it may read: it may have stopped because of what
    /// is answered now.
    pub(super) fn wake(&mut self, key: Key) {
        if let Some(session) = self.session(key) {
            session.wake();
        }
    }
}
