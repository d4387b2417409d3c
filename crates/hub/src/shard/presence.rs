//! Who of this shard's sessions takes part in a channel's presence, and what they are told of the others.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hubplane_backplane::Channel;

use super::{ShardState, found, topic::Subscriber};
use crate::{
    Hub,
    command::{ErrorCode, Push, Ref, Reply},
    key::Key,
    presence::{Answer, Change, PresenceOptions, Question, Refusal},
};

/// Who takes part in one channel's presence. A channel without presence has no such value.
#[derive(Default)]
pub(super) struct Attending {
    /// Sessions that are members, and as which client.
    members: HashMap<u32, Arc<str>>,
    /// Sessions that are told who comes and goes.
    watchers: HashSet<u32>,
}

/// Bytes of answers that are queued before others have their turn.
const SLICE: usize = 256 * 1024;

/// One thing to tell clients of presence.
pub(super) enum PresenceMail {
    Changes(Arc<Vec<Change>>),
    Answer(Answer),
}

impl ShardState {
    /// A subscribed session takes part as it says, in place of what it was before.
    pub(super) fn attend(
        &mut self,
        hub: &Hub,
        channel: &Channel,
        index: u32,
        attendance: PresenceOptions,
    ) -> Result<(), Refusal> {
        let PresenceOptions { member, watch } = attendance;
        let client = member.as_ref().map(|member| Arc::clone(&member.client));
        if client.is_some() {
            self.check_share(hub, channel, index)?;
        }
        // Joining before leaving: a member that only describes itself in another way is never gone in between.
        member.map_or(Ok(()), |member| hub.presence.join(channel, member))?;
        self.absent(hub, channel, index);
        if let Some(client) = client {
            self.attending(channel).members.insert(index, client);
            *self.memberships.entry(index).or_default() += 1;
        }
        if watch {
            self.attending(channel).watchers.insert(index);
        }
        Ok(())
    }

    /// Checks whether a session may be a member of one more channel.
    fn check_share(&self, hub: &Hub, channel: &Channel, index: u32) -> Result<(), Refusal> {
        let most = hub.limits().presence_session_members;
        let attending = self.attending.get(channel);
        let is_member = attending.is_some_and(|it| it.members.contains_key(&index));
        let of = self.memberships.get(&index).copied().unwrap_or_default();
        match of < most || is_member {
            true => Ok(()),
            false => Err(Refusal::Share(most)),
        }
    }

    fn attending(&mut self, channel: &Channel) -> &mut Attending {
        self.attending.entry(Channel::clone(channel)).or_default()
    }

    /// Ends a session's part in a channel's presence, if it has one.
    pub(super) fn absent(&mut self, hub: &Hub, channel: &Channel, index: u32) {
        let Some(attending) = self.attending.get_mut(channel) else {
            return;
        };
        attending.watchers.remove(&index);
        if let Some(client) = attending.members.remove(&index) {
            hub.presence.leave(channel, &client);
            if let Some(of) = self.memberships.get_mut(&index) {
                *of -= 1;
                if *of == 0 {
                    self.memberships.remove(&index);
                }
            }
        }
        if attending.members.is_empty() && attending.watchers.is_empty() {
            self.attending.remove(channel);
        }
    }

    /// A client asks who is on a channel.
    pub(super) fn ask(&mut self, hub: &Hub, key: Key, reference: Option<Ref>, channel: Channel) {
        if !self.is_good(hub, key, reference.as_deref(), &channel) {
            return;
        }
        let shard = self.index;
        let known = reference.clone();
        let question = Question {
            shard,
            key,
            reference,
            channel,
        };
        if !hub.presence.ask(question) {
            let message = "too many ask for members; try again";
            let error = (ErrorCode::Unavailable, message);
            return self.refuse(hub, key, known.as_deref(), error);
        }
        if let Some(session) = self.session(key) {
            session.unanswered += 1;
        }
    }

    /// Tells what has come, up to about [`SLICE`] bytes. Returns true if more is left.
    pub(super) fn tell_presence(&mut self, hub: &Hub) -> bool {
        let mut told = 0;
        while told < SLICE
            && let Some(mail) = self.presence_mail.pop_front()
        {
            match mail {
                PresenceMail::Changes(changes) => self.change(hub, &changes),
                PresenceMail::Answer(answer) => told += self.answer_members(hub, &answer),
            }
        }
        !self.presence_mail.is_empty()
    }

    /// Tells a client who is on a channel. Returns how many bytes that took.
    fn answer_members(&mut self, hub: &Hub, answer: &Answer) -> usize {
        let Answer { question, roster } = answer;
        let Question {
            key,
            reference,
            channel,
            ..
        } = question;
        self.answered(*key);
        let Some(session) = found(&mut self.sessions, *key) else {
            return 0;
        };
        let encoding = session.setup.encoding;
        let tail = roster
            .frames
            .get(encoding, || encoding.members(channel, &roster.roster));
        let reply = Reply::Members {
            reference: reference.as_deref(),
            channel,
        };
        let head = encoding.reply_head(&reply, tail);
        let frame = (Some(head), tail.clone());
        self.unwritten
            .queue_with_head(hub, key.index, session, frame);
        tail.len()
    }

    /// Tells those who watch.
    fn change(&mut self, hub: &Hub, changes: &[Change]) {
        for change in changes {
            let to = self.watchers(&change.channel);
            let push = Push::Presence(change);
            self.unwritten.tell(hub, &mut self.sessions, &to, &push);
        }
    }

    /// The subscriptions that are told of a channel's changes.
    fn watchers(&self, channel: &str) -> Vec<Subscriber> {
        let (Some(attending), Some(topic)) =
            (self.attending.get(channel), self.topics.find(channel))
        else {
            return Vec::new();
        };
        let mut watchers = Vec::with_capacity(attending.watchers.len());
        for &session in &attending.watchers {
            let subscriptions = &self.sessions[session as usize].subscriptions;
            let of_topic = subscriptions.iter().enumerate();
            let of_topic = of_topic.filter(|(_, it)| it.topic == topic);
            watchers.extend(of_topic.map(|(at, _)| Subscriber {
                session,
                at: at as u32,
            }));
        }
        watchers
    }
}

/// The error code for a refusal.
pub(super) const fn code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Client | Refusal::User | Refusal::Info => ErrorCode::BadPresence,
        Refusal::Share(_) | Refusal::Full => ErrorCode::LimitReached,
    }
}
