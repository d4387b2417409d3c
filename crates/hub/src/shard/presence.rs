//! Who of this shard's sessions takes part in a channel's presence, and what they are told of the others.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hubplane_backplane::Channel;

use super::ShardState;
use crate::{
    Hub,
    command::{ErrorCode, Push, Ref, Reply},
    presence::{Answer, Change, PresenceOptions, Question, Refusal},
    session::Key,
};

/// Those of one channel. A channel without presence has none of this.
#[derive(Default)]
pub(super) struct Attending {
    /// Sessions that are members, and as which client.
    members: HashMap<u32, Arc<str>>,
    /// Sessions that are told who comes and goes.
    watchers: HashSet<u32>,
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
        // In this order one that only tells something else of itself stays.
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

    /// Whether a session may be a member of one more channel.
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

    /// A session takes part no more, if it did.
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

    /// Who is on the channels that clients asked for.
    pub(super) fn answer_members(&mut self, hub: &Hub, answers: Vec<Answer>) {
        for Answer { question, roster } in answers {
            self.answered(question.key);
            let reply = Reply::Members {
                reference: question.reference.as_deref(),
                channel: &question.channel,
                roster: &roster,
            };
            self.reply(hub, question.key, &reply);
        }
    }

    /// Tells those who watch.
    pub(super) fn change(&mut self, hub: &Hub, changes: &[Change]) {
        for change in changes {
            if let Some(attending) = self.attending.get(&change.channel) {
                let watchers = attending.watchers.iter().copied();
                let push = Push::Presence(change);
                self.unwritten
                    .tell(hub, &mut self.sessions, watchers, &push);
            }
        }
    }
}

/// A refusal as a client is told it.
pub(super) const fn code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Client | Refusal::User | Refusal::Info => ErrorCode::BadPresence,
        Refusal::Share(_) | Refusal::Full => ErrorCode::LimitReached,
    }
}
