//! The members of all instances together: who is on a channel, as clients see it. Pure.
//!
//! One client on one channel is one member, whatever number of instances has it. A member that no
//! instance has stays for the grace time, so that one that comes back in time neither leaves nor
//! joins. One member's joins and leaves alternate.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

use super::{Change, member::Member};

/// One member of one channel: the channel and the client.
pub(super) type Place = (Channel, Arc<str>);

/// A member, how many instances have it, and when it leaves if none has.
#[derive(Debug)]
struct Entry {
    member: Member,
    instances: usize,
    leaves: Option<Instant>,
}

/// The table, and what has changed in it.
#[derive(Debug)]
pub(super) struct Table {
    grace: Duration,
    /// Channels without members are not here.
    channels: HashMap<Channel, HashMap<Arc<str>, Entry>>,
    /// Whose grace time ends when, the earliest first.
    leaving: BTreeSet<(Instant, Place)>,
    /// Joins and leaves since they were last taken, in their order.
    pub(super) changes: Vec<Change>,
}

impl Table {
    /// An empty table.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            channels: HashMap::new(),
            leaving: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    /// Notes that one more instance has this member. It joins if it was not there, and stays if it
    /// was leaving.
    pub(super) fn hold(&mut self, channel: &Channel, member: &Member) {
        let members = self.channels.entry(Channel::clone(channel)).or_default();
        if let Some(entry) = members.get_mut(&member.client) {
            entry.instances += 1;
            entry.member = member.clone();
            if let Some(at) = entry.leaves.take() {
                let place = (Channel::clone(channel), Arc::clone(&member.client));
                self.leaving.remove(&(at, place));
            }
            return;
        }
        let entry = Entry {
            member: member.clone(),
            instances: 1,
            leaves: None,
        };
        members.insert(Arc::clone(&member.client), entry);
        self.changes.push(Change {
            channel: Channel::clone(channel),
            member: member.clone(),
            joined: true,
        });
    }

    /// Notes that an instance describes a member that it has in another way. Nothing is pushed for
    /// that.
    pub(super) fn renew(&mut self, channel: &Channel, member: &Member) {
        let members = self.channels.get_mut(channel);
        if let Some(entry) = members.and_then(|members| members.get_mut(&member.client)) {
            entry.member = member.clone();
        }
    }

    /// Notes that one instance less has this member, since `now`. When none has it, it leaves after
    /// the grace time.
    pub(super) fn release(&mut self, place: &Place, now: Instant) {
        let members = self.channels.get_mut(&place.0);
        let Some(entry) = members.and_then(|members| members.get_mut(&place.1)) else {
            return;
        };
        // The last that has it decides when the grace time begins.
        entry.instances = entry.instances.saturating_sub(1);
        if entry.instances == 0 {
            let at = now + self.grace;
            entry.leaves = Some(at);
            self.leaving.insert((at, place.clone()));
        }
    }

    /// Removes the members whose grace time is over. The changes then have their leaves.
    pub(super) fn tick(&mut self, now: Instant) {
        while self.leaving.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, place)) = self.leaving.pop_first() {
                self.remove(&place);
            }
        }
    }

    /// Removes a member for good.
    fn remove(&mut self, place: &Place) {
        let Some(members) = self.channels.get_mut(&place.0) else {
            return;
        };
        if let Some(entry) = members.remove(&place.1) {
            self.changes.push(Change {
                channel: Channel::clone(&place.0),
                member: entry.member,
                joined: false,
            });
        }
        if members.is_empty() {
            self.channels.remove(&place.0);
        }
    }

    /// Returns a channel's members, in no order.
    pub(super) fn members(&self, channel: &str) -> impl Iterator<Item = &Member> {
        let members = self.channels.get(channel).into_iter().flatten();
        members.map(|(_, entry)| &entry.member)
    }

    /// Returns how many members a channel has.
    pub(super) fn count(&self, channel: &str) -> usize {
        self.channels.get(channel).map_or(0, HashMap::len)
    }

    /// Returns how many members there are on all channels.
    pub(super) fn size(&self) -> usize {
        self.channels.values().map(HashMap::len).sum()
    }

    /// Returns true if a member is in its grace time. It is counted as held already.
    pub(super) fn is_leaving(&self, place: &Place) -> bool {
        let members = self.channels.get(&place.0);
        let entry = members.and_then(|members| members.get(&place.1));
        entry.is_some_and(|entry| entry.leaves.is_some())
    }

    /// Returns how many members are in their grace time.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }
}
