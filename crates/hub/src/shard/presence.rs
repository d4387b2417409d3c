//! Which of this shard's sessions take part in a channel's presence, and what they are told of the
//! others.
//!
//! The hub's `presence` decides who is a member; this file only knows which local session stands
//! for which client, and passes changes on. A session is counted as a member of a channel once,
//! whatever number of subscriptions it has there.

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

/// Who takes part in one channel's presence. A channel without members and watchers of this shard
/// has no such value.
#[derive(Default)]
pub(super) struct Attending {
    /// Sessions that are members, by their index, and the client that each stands for.
    members: HashMap<u32, Arc<str>>,
    /// Sessions that are told who comes and goes, by their index.
    watchers: HashSet<u32>,
}

/// Bytes of answers that are queued before messages have their turn again: an answer may name a
/// thousand members.
const SLICE: usize = 256 * 1024;

/// One thing to tell clients of presence. Both kinds wait in one queue, since an answer has its
/// place among the changes.
pub(super) enum PresenceMail {
    Changes(Arc<Vec<Change>>),
    Answer(Answer),
}

impl ShardState {
    /// Lets a subscribed session take part as `attendance` says, in place of how it took part
    /// before.
    /// Returns a refusal, and changes nothing, if the member is not allowed or a limit is reached.
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
        member.map_or(Ok(()), |member| hub.presence().join(channel, member))?;
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

    /// Returns an error if the session is a member of as many channels as it may be. A session that
    /// is a member of this channel already may stay one.
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

    /// Returns a channel's attendance, made if there is none.
    fn attending(&mut self, channel: &Channel) -> &mut Attending {
        self.attending.entry(Channel::clone(channel)).or_default()
    }

    /// Ends a session's part in a channel's presence. Does nothing if it has none.
    pub(super) fn absent(&mut self, hub: &Hub, channel: &Channel, index: u32) {
        let Some(attending) = self.attending.get_mut(channel) else {
            return;
        };
        attending.watchers.remove(&index);
        // The hub's presence waits its grace time before it tells anybody that the member left.
        if let Some(client) = attending.members.remove(&index) {
            hub.presence().leave(channel, &client);
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

    /// Asks who is on a channel; the answer comes by mail up to 0.1 s later. If too many questions
    /// wait already, the client is told so at once.
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
        if !hub.presence().ask(question) {
            let message = "too many ask for members; try again";
            let error = (ErrorCode::Unavailable, message);
            return self.refuse(hub, key, known.as_deref(), error);
        }
        // Counts like a publication: who asks without end is not read from any further.
        if let Some(session) = self.session(key) {
            session.unanswered += 1;
        }
    }

    /// Tells clients what has come, up to about [`SLICE`] bytes. Returns true if more is left for
    /// the next turn.
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

    /// Tells a client who is on a channel. Returns how many bytes that took; 0 if the session is
    /// gone.
    fn answer_members(&mut self, hub: &Hub, answer: &Answer) -> usize {
        let Answer { question, roster } = answer;
        let Question {
            key,
            reference,
            channel,
            ..
        } = question;
        // The question counts as answered, also if the session is gone below.
        self.answered(*key);
        let Some(session) = found(&mut self.sessions, *key) else {
            return 0;
        };
        // All who asked for this channel at the same time share one encoded list; only the head
        // with the client's reference is its own.
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

    /// Tells the sessions that watch, change by change and in their order.
    fn change(&mut self, hub: &Hub, changes: &[Change]) {
        for change in changes {
            let to = self.watchers(&change.channel);
            let push = Push::Presence(change);
            self.unwritten.tell(hub, &mut self.sessions, &to, &push);
        }
    }

    /// Returns the subscriptions that are told of a channel's changes: all those that a watching
    /// session has to it.
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

/// Returns the error code that a client is told for a refusal.
pub(super) const fn code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Client | Refusal::User | Refusal::Info => ErrorCode::BadPresence,
        Refusal::Share(_) | Refusal::Full => ErrorCode::LimitReached,
    }
}
