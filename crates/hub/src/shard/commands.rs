//! What clients ask, carried out.

use std::time::Instant;

use bytes::Bytes;
use hubplane_backplane::{Channel, MessageId, Outgoing};

use super::{Shard, ShardState, Waiting, found, presence::code};
use crate::{
    Hub, channel,
    command::{Command, ErrorCode, Ref, Reply},
    frame::{Encoding, Frame},
    publisher::ReplyTo,
    session::Key,
};

impl Shard {
    /// Carries out a client's command. The answer is queued; [`Shard::flush_dirty`] writes it.
    pub fn command(&self, key: Key, command: Command) {
        let mut state = self.state.borrow_mut();
        if state
            .session(key)
            .is_none_or(|session| session.ends_at.is_some())
        {
            return;
        }
        match command {
            Command::Subscribe {
                reference,
                channel,
                since,
                presence,
            } => {
                let waiting = Waiting {
                    key,
                    reference,
                    since,
                    presence,
                    reading: false,
                };
                state.subscribe(&self.hub, channel, waiting);
            }
            Command::Unsubscribe { reference, channel } => {
                state.unsubscribe(&self.hub, key, reference.as_deref(), &channel);
            }
            Command::Publish {
                reference,
                channel,
                data,
                id,
            } => {
                state.publish(&self.hub, key, reference, (channel, data, id));
            }
            Command::Members { reference, channel } => {
                state.ask(&self.hub, key, reference, channel);
            }
            Command::Ping => state.reply(&self.hub, key, &Reply::Pong),
        }
    }

    /// A client's command could not be understood; the session goes on.
    pub fn refuse(&self, key: Key, reference: Option<&str>, message: &str) {
        let mut state = self.state.borrow_mut();
        state.refuse(&self.hub, key, reference, (ErrorCode::Malformed, message));
    }

    /// The client has answered a ping.
    pub fn pong(&self, key: Key) {
        let interval = self.hub.limits().ping_interval;
        if let Some(session) = self.state.borrow_mut().session(key)
            && std::mem::take(&mut session.awaiting_pong)
        {
            session.clock = Instant::now() + interval;
        }
    }

    /// Queues a frame that only the socket loop can make: a pong.
    pub fn send(&self, key: Key, frame: Bytes) {
        self.state.borrow_mut().queue(&self.hub, key, |_| frame);
    }

    /// Ends a session with a last frame of the caller's making.
    pub fn end_with(&self, key: Key, frame: Bytes) {
        let mut state = self.state.borrow_mut();
        let ShardState {
            sessions,
            unwritten,
            ..
        } = &mut *state;
        if let Some(session) = found(sessions, key)
            && session.ends_at.is_none()
        {
            session.outbox.push(frame);
            session.ends_at = Some(Instant::now() + self.hub.limits().handshake_timeout / 2);
            unwritten.mark(key.index, session);
        }
    }
}

impl ShardState {
    pub(super) fn reply(&mut self, hub: &Hub, key: Key, reply: &Reply<'_>) {
        self.queue(hub, key, |encoding| encoding.reply(reply));
    }

    pub(super) fn refuse(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        (code, message): (ErrorCode, &str),
    ) {
        self.reply(
            hub,
            key,
            &Reply::Error {
                reference,
                code,
                message,
            },
        );
    }

    fn queue(&mut self, hub: &Hub, key: Key, frame: impl FnOnce(&dyn Encoding) -> Frame) {
        if let Some(session) = found(&mut self.sessions, key) {
            let frame = frame(session.admission.encoding);
            self.unwritten.queue(hub, key.index, session, frame);
        }
    }

    /// A channel that a client names; the answer to a bad name is queued.
    pub(super) fn is_good(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        channel: &str,
    ) -> bool {
        let checked = channel::check(channel);
        if let Err(bad) = checked {
            self.refuse(
                hub,
                key,
                reference,
                (ErrorCode::BadChannel, &bad.to_string()),
            );
        }
        checked.is_ok()
    }

    fn subscribe(&mut self, hub: &Hub, channel: Channel, waiting: Waiting) {
        let most = hub.limits().subscriptions;
        let (key, reference) = (waiting.key, waiting.reference.as_deref());
        if !self.is_good(hub, key, reference, &channel) {
            return;
        }
        let Some(session) = self.session(key) else {
            return;
        };
        if session.channels.contains(&channel) {
            return self.subscribe_again(hub, &channel, waiting);
        }
        if session.channels.len() >= most {
            let message =
                format!("a session may subscribe to {most} channels; unsubscribe from one first");
            return self.refuse(hub, key, reference, (ErrorCode::LimitReached, &message));
        }
        // All holders of a channel share one name.
        let channel = self
            .topics
            .get_key_value(&channel)
            .map_or(channel, |(known, _)| Channel::clone(known));
        if let Some(session) = self.session(key) {
            if session.channels.is_empty() {
                // Most have one; a Vec's own first step is four.
                session.channels.reserve_exact(1);
            }
            session.channels.push(Channel::clone(&channel));
        }
        let (shard, known) = (self.index, self.topics.contains_key(&channel));
        let topic = self.topics.entry(Channel::clone(&channel)).or_default();
        if !known {
            topic.ready = hub.interest().add(shard, &channel);
        }
        if topic.ready {
            self.admit(hub, &channel, waiting);
        } else {
            topic.waiting.push(waiting);
        }
    }

    /// Once is enough; the client learns where it stands, and may take part in the channel's presence in another way.
    fn subscribe_again(&mut self, hub: &Hub, channel: &Channel, again: Waiting) {
        let key = again.key;
        let topic = self.topics.get_mut(channel);
        let mut waiting = topic.into_iter().flat_map(|topic| &mut topic.waiting);
        match (again.presence, waiting.find(|waiting| waiting.key == key)) {
            (Some(presence), Some(waiting)) => waiting.presence = Some(presence),
            (Some(presence), None) => {
                if let Err(refusal) = self.attend(hub, channel, key.index, *presence) {
                    let error = (code(refusal), &*refusal.to_string());
                    return self.refuse(hub, key, again.reference.as_deref(), error);
                }
            }
            (None, _) => {}
        }
        let position = self.head(hub, channel);
        let reply = Reply::Subscribed {
            reference: again.reference.as_deref(),
            channel,
            position,
            recovered: again.since.is_some() && again.since == position,
        };
        self.reply(hub, key, &reply);
    }

    /// A subscription that had to wait can't be: the session is told why.
    pub(super) fn reject(
        &mut self,
        hub: &Hub,
        channel: &Channel,
        waiting: &Waiting,
        error: (ErrorCode, &str),
    ) {
        if let Some(session) = self.session(waiting.key) {
            session.channels.retain(|known| known != channel);
        }
        self.leave(hub, waiting.key.index, channel);
        self.refuse(hub, waiting.key, waiting.reference.as_deref(), error);
    }

    /// Something that a client waited for is answered.
    pub(super) fn answered(&mut self, key: Key) {
        if let Some(session) = self.session(key) {
            session.unanswered -= 1;
            // Its task may have stopped reading because of it.
            session.wake();
        }
    }

    fn unsubscribe(&mut self, hub: &Hub, key: Key, reference: Option<&str>, channel: &Channel) {
        let Some(session) = self.session(key) else {
            return;
        };
        let Some(at) = session.channels.iter().position(|known| known == channel) else {
            let message = "this session is not subscribed to that channel";
            return self.refuse(hub, key, reference, (ErrorCode::NotSubscribed, message));
        };
        session.channels.swap_remove(at);
        self.leave(hub, key.index, channel);
        self.reply(hub, key, &Reply::Unsubscribed { reference, channel });
    }

    fn publish(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<Ref>,
        (channel, data, id): (Channel, Bytes, Option<MessageId>),
    ) {
        let shard = self.index;
        if !self.is_good(hub, key, reference.as_deref(), &channel) {
            return;
        }
        let Some(session) = self.session(key) else {
            return;
        };
        if !session.admission.may_publish {
            let message =
                "publishing needs the hub's key, sent as Authorization: Bearer … when connecting";
            return self.refuse(
                hub,
                key,
                reference.as_deref(),
                (ErrorCode::Forbidden, message),
            );
        }
        let mut outgoing = Outgoing::new(channel, data);
        outgoing.id = id;
        session.unanswered += 1;
        let known = reference.clone();
        let reply_to = ReplyTo::Session {
            shard,
            key,
            reference,
        };
        if hub.publisher().offer(vec![outgoing], reply_to).is_err()
            && let Some(session) = self.session(key)
        {
            session.unanswered -= 1;
            let message = "too many publications wait for the broker; try again";
            self.refuse(
                hub,
                key,
                known.as_deref(),
                (ErrorCode::Unavailable, message),
            );
        }
    }
}
