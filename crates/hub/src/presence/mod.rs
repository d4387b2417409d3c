//! Who is on a channel, the same on every instance: a state machine without input, output or a
//! clock of its own.
//!
//! Each instance tells the others its own members on [`CHANNEL`]: each change, with a number; a
//! heartbeat with the last number, while it has members; its whole table when another instance
//! asks. Each instance keeps what all have told. An instance that is silent for too long counts as
//! dead, and its members leave. A lost message leaves a hole in the numbers, and the instance that
//! sees it asks for a snapshot. No `gap` is about presence.

mod member;
mod peer;
mod shared_presence;
mod table;
mod wire;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hubplane_backplane::Channel;

#[cfg(test)]
pub(super) use self::shared_presence::SharedRoster;
pub(super) use self::shared_presence::{Answer, Question, SharedPresence, attend, speak};
pub use self::{
    member::{MAX_CLIENT, MAX_INFO, MAX_USER, Member, PresenceOptions, Refusal},
    shared_presence::Roster,
};
use self::{
    peer::{Peer, Verdict},
    table::{Place, Table},
    wire::{Op, What},
};
use crate::limits::Limits;

/// Where instances tell each other their members.
pub const CHANNEL: &str = "$hubplane/presence";
/// Between two questions to one instance, and between two snapshots: a flood of questions costs no
/// more.
const PAUSE: Duration = Duration::from_secs(1);
/// How long messages that come late from an instance that said goodbye are ignored.
const GONE: Duration = Duration::from_secs(60);
/// The most other instances that are known at once.
const MOST_PEERS: usize = 1_024;

/// Somebody has come to a channel, or left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The channel.
    pub channel: Channel,
    /// The member.
    pub member: Member,
    /// True if the member came, false if it left.
    pub joined: bool,
}

/// What is to be published. Each message is encoded when it is taken, without the lock, because a long table takes time.
#[derive(Debug)]
pub struct Words {
    id: u128,
    words: std::vec::IntoIter<What>,
}

impl Iterator for Words {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let what = self.words.next()?;
        Some(wire::encode(self.id, what))
    }
}

/// A member on this instance, and how many sessions it has here.
#[derive(Debug)]
struct Own {
    member: Member,
    sessions: usize,
}

/// The table of one instance.
#[derive(Debug)]
pub struct Presence {
    id: u128,
    /// The most members that are held, of all instances together.
    most: usize,
    /// How long to wait between two heartbeats.
    beat: Duration,
    /// An instance that says nothing for this time counts as dead.
    dead: Duration,
    /// Members on this instance.
    own: HashMap<Place, Own>,
    /// Own members that have changed since the others were told.
    dirty: HashSet<Place>,
    /// Own members that the others know.
    told: HashSet<Place>,
    /// The number of the last change that the others were told.
    number: u64,
    /// The other instances, by their origin.
    peers: HashMap<u128, Peer>,
    /// Instances that said goodbye, and until when their late messages are ignored.
    gone: HashMap<u128, Instant>,
    /// All members as clients see them.
    table: Table,
    /// True once this instance has asked all others for their tables.
    greeted: bool,
    last_beat: Option<Instant>,
    /// True if another instance has asked for the whole table.
    asked: bool,
    last_snapshot: Option<Instant>,
    bad: u64,
    dropped: u64,
}

impl Presence {
    /// Returns an empty table. `id` names this process among all.
    pub fn new(id: u128, limits: &Limits) -> Self {
        Self {
            id,
            most: limits.presence_members,
            beat: limits.presence_beat,
            dead: limits.presence_dead,
            own: HashMap::new(),
            dirty: HashSet::new(),
            told: HashSet::new(),
            number: 0,
            peers: HashMap::new(),
            gone: HashMap::new(),
            table: Table::new(limits.presence_grace),
            greeted: false,
            last_beat: None,
            asked: false,
            last_snapshot: None,
            bad: 0,
            dropped: 0,
        }
    }

    /// Notes that a session of this instance is a member. Each success needs one
    /// [`Presence::leave`].
    ///
    /// # Errors
    /// The limit that is broken; nothing has changed then.
    pub fn join(&mut self, channel: &Channel, member: Member) -> Result<(), Refusal> {
        member.check()?;
        let place = (Channel::clone(channel), Arc::clone(&member.client));
        // One in its grace time is counted already, so it may always come back.
        let full = self.held() >= self.most && !self.table.is_leaving(&place);
        match self.own.get_mut(&place) {
            Some(own) => {
                own.sessions += 1;
                if own.member != member {
                    self.table.renew(channel, &member);
                    own.member = member;
                    self.dirty.insert(place);
                }
            }
            None if full => return Err(Refusal::Full),
            None => {
                self.table.hold(channel, &member);
                self.dirty.insert(place.clone());
                self.own.insert(
                    place,
                    Own {
                        member,
                        sessions: 1,
                    },
                );
            }
        }
        Ok(())
    }

    /// Notes that a session of this instance is no longer a member.
    pub fn leave(&mut self, channel: &Channel, client: &str, now: Instant) {
        let place = (Channel::clone(channel), Arc::from(client));
        let Some(own) = self.own.get_mut(&place) else {
            return;
        };
        own.sessions -= 1;
        if own.sessions == 0 {
            self.own.remove(&place);
            self.table.release(&place, now);
            // A member that came and left before the others were told was never there for them.
            match self.told.contains(&place) {
                true => self.dirty.insert(place),
                false => self.dirty.remove(&place),
            };
        }
    }

    /// Takes a message that came on [`CHANNEL`]; nobody has checked who sent it.
    pub fn receive(&mut self, data: &[u8], now: Instant) {
        let Some((from, what)) = wire::decode(data) else {
            self.bad += 1;
            return;
        };
        if from == self.id || self.gone.contains_key(&from) {
            return;
        }
        match what {
            What::Ask { to } => {
                self.asked |= to.is_none_or(|to| to == wire::id(self.id));
                return;
            }
            What::Bye => {
                self.bury(from, now);
                if self.gone.len() < MOST_PEERS {
                    self.gone.insert(from, now + GONE);
                }
                return;
            }
            _ => {}
        }
        if !self.peers.contains_key(&from) && self.peers.len() >= MOST_PEERS {
            self.dropped += 1;
            return;
        }
        // A made-up instance can't hold more than what is left.
        let room = self.most.saturating_sub(self.held());
        let peer = self.peers.entry(from).or_insert_with(|| Peer::new(now));
        peer.heard = now;
        let Verdict { bad, dropped } = peer.take(what, room, now, &mut self.table);
        self.bad += bad;
        self.dropped += dropped;
    }

    /// Does what is due by now; to be called several times a second. Returns the changes to tell
    /// this instance's clients. While this instance doesn't hear its broker (`hears` is false), no
    /// other instance counts as silent.
    pub fn tick(&mut self, now: Instant, hears: bool) -> Vec<Change> {
        let mut dead = Vec::new();
        for (&id, peer) in &mut self.peers {
            if !hears {
                peer.heard = now;
            } else if now.saturating_duration_since(peer.heard) >= self.dead {
                dead.push((id, peer.heard));
            }
        }
        for (id, heard) in dead {
            self.bury(id, heard);
        }
        self.gone.retain(|_, until| *until > now);
        self.table.tick(now);
        std::mem::take(&mut self.table.changes)
    }

    /// Returns what is to be published on [`CHANNEL`], in this order. To be called again once that
    /// is published. If some of it is lost, the others ask for it.
    pub fn speak(&mut self, now: Instant) -> Words {
        let mut words = Vec::new();
        if !std::mem::replace(&mut self.greeted, true) {
            words.push(What::Ask { to: None });
        }
        for (&id, peer) in &mut self.peers {
            if peer.may_ask(now) {
                let to = Some(wire::id(id));
                words.push(What::Ask { to });
            }
        }
        self.tell(&mut words);
        self.beat(now, &mut words);
        self.answer(now, &mut words);
        Words {
            id: self.id,
            words: words.into_iter(),
        }
    }

    /// Tells the others what has changed here.
    fn tell(&mut self, words: &mut Vec<What>) {
        let mut whole = self.told.is_empty();
        let mut ops = Vec::new();
        for place in self.dirty.drain() {
            match self.own.get(&place) {
                Some(own) => {
                    ops.push(Op::there(&place.0, &own.member));
                    self.told.insert(place);
                }
                None => {
                    ops.push(Op::gone(&place.0, &place.1));
                    self.told.remove(&place);
                }
            }
        }
        for ops in wire::packed(ops.into_iter()) {
            self.number += 1;
            let n = self.number;
            let whole = std::mem::take(&mut whole);
            words.push(What::Diff { n, whole, ops });
        }
    }

    /// Sends a heartbeat if one is due. An instance that never had members sends none.
    fn beat(&mut self, now: Instant, words: &mut Vec<What>) {
        let due = self.last_beat.is_none_or(|last| now >= last + self.beat);
        if !self.told.is_empty() && due {
            self.last_beat = Some(now);
            let (n, members) = (self.number, self.told.len());
            words.push(What::Beat { n, members });
        }
    }

    /// Sends the whole table if another instance has asked for it.
    fn answer(&mut self, now: Instant, words: &mut Vec<What>) {
        let rested = self.last_snapshot.is_none_or(|last| now >= last + PAUSE);
        if !self.asked || !rested {
            return;
        }
        // One snapshot answers all who have asked meanwhile.
        self.asked = false;
        let n = self.number;
        if self.own.is_empty() {
            // An instance that never told anything has nothing to take back.
            if n > 0 {
                words.push(What::Beat { n, members: 0 });
            }
            return;
        }
        self.last_snapshot = Some(now);
        let all = self.own.iter();
        let parts = wire::packed(all.map(|(place, own)| Op::there(&place.0, &own.member)));
        let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for (part, ops) in (0..).zip(parts) {
            words.push(What::Snapshot { n, part, of, ops });
        }
    }

    /// Returns the goodbye to the others; `None` if they know no member of this instance.
    pub fn bye(&self) -> Option<Bytes> {
        (self.number > 0).then(|| wire::encode(self.id, What::Bye))
    }

    /// Returns at most `limit` of a channel's members, in no order.
    pub fn members(&self, channel: &str, limit: usize) -> Vec<Member> {
        self.table.members(channel).take(limit).cloned().collect()
    }

    /// Returns how many members a channel has.
    pub fn count(&self, channel: &str) -> usize {
        self.table.count(channel)
    }

    /// Returns how many members there are on all channels.
    pub fn size(&self) -> usize {
        self.table.size()
    }

    /// Returns how many messages could not be understood, and how many members were ignored because
    /// of a limit.
    pub const fn skipped(&self) -> (u64, u64) {
        (self.bad, self.dropped)
    }

    /// Returns how many members are held in memory, of all instances together.
    fn held(&self) -> usize {
        let others: usize = self.peers.values().map(Peer::held).sum();
        self.own.len() + others + self.table.leaving()
    }

    /// Removes an instance and its members; `heard` is when it was last heard, from when the grace
    /// time runs.
    fn bury(&mut self, id: u128, heard: Instant) {
        if let Some(peer) = self.peers.remove(&id) {
            for place in peer.places() {
                self.table.release(place, heard);
            }
        }
    }
}

#[cfg(test)]
mod tests;
