//! Who is on a channel, the same on every instance: a state machine without input, output or clock of its own.
//!
//! Each instance tells the others its own members on [`CHANNEL`]: what changed, numbered; a heartbeat with the last
//! number while it has members; the whole when asked. Each holds what all have told. An instance that is silent is
//! dead after a while, and its members leave; a lost message shows in the numbers and is made good by a snapshot.

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
/// Between two questions to one instance, and between two snapshots.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what comes late from an instance that said goodbye is passed over.
const GONE: Duration = Duration::from_secs(60);
/// Other instances that are known at once.
const MOST_PEERS: usize = 1_024;

/// Somebody has come to a channel, or left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub channel: Channel,
    /// Who.
    pub member: Member,
    /// Come, not left.
    pub joined: bool,
}

/// What is to be published, written out one by one: that takes its time, and needs no lock.
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
    /// Members that are held in all.
    most: usize,
    /// Between two heartbeats.
    beat: Duration,
    /// After so long without a word an instance is dead.
    dead: Duration,
    own: HashMap<Place, Own>,
    /// Own members that the others don't know as they are now.
    dirty: HashSet<Place>,
    /// What the others have been told of.
    told: HashSet<Place>,
    /// Changes told so far.
    number: u64,
    peers: HashMap<u128, Peer>,
    gone: HashMap<u128, Instant>,
    table: Table,
    greeted: bool,
    last_beat: Option<Instant>,
    /// Somebody has asked for the whole.
    asked: bool,
    last_snapshot: Option<Instant>,
    bad: u64,
    dropped: u64,
}

impl Presence {
    /// Nobody is there. `id` names this process among all.
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

    /// A session here has become a member. Each success needs one [`Presence::leave`].
    ///
    /// # Errors
    /// A limit is broken; nothing has changed.
    pub fn join(&mut self, channel: &Channel, member: Member) -> Result<(), Refusal> {
        member.check()?;
        let place = (Channel::clone(channel), Arc::clone(&member.client));
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

    /// A session here is a member no more.
    pub fn leave(&mut self, channel: &Channel, client: &str, now: Instant) {
        let place = (Channel::clone(channel), Arc::from(client));
        let Some(own) = self.own.get_mut(&place) else {
            return;
        };
        own.sessions -= 1;
        if own.sessions == 0 {
            self.own.remove(&place);
            self.table.release(&place, now);
            // Who came and went before anybody was told was never there for the others.
            match self.told.contains(&place) {
                true => self.dirty.insert(place),
                false => self.dirty.remove(&place),
            };
        }
    }

    /// A message on [`CHANNEL`], from whomever.
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
        let room = self.most.saturating_sub(self.held());
        let peer = self.peers.entry(from).or_insert_with(|| Peer::new(now));
        peer.heard = now;
        let Verdict { bad, dropped } = peer.take(what, room, now, &mut self.table);
        self.bad += bad;
        self.dropped += dropped;
    }

    /// What time brings; to be called some times a second. While this instance does not hear the broker
    /// (`hears`), others are not silent. What is to be told to the channels' subscribers here.
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

    /// What is to be published on [`CHANNEL`], in this order; to be called again once that is done. What is lost of
    /// it the others ask for.
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

    /// Only who has members must live for others; who never had any costs nothing.
    fn beat(&mut self, now: Instant, words: &mut Vec<What>) {
        let due = self.last_beat.is_none_or(|last| now >= last + self.beat);
        if !self.told.is_empty() && due {
            self.last_beat = Some(now);
            let (n, members) = (self.number, self.told.len());
            words.push(What::Beat { n, members });
        }
    }

    /// Tells the whole to those who asked.
    fn answer(&mut self, now: Instant, words: &mut Vec<What>) {
        let rested = self.last_snapshot.is_none_or(|last| now >= last + PAUSE);
        if !self.asked || !rested {
            return;
        }
        self.asked = false;
        let n = self.number;
        if self.own.is_empty() {
            // Who never told anything has nothing to take back.
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

    /// This instance ends in good order: the last word to the others, where there is anything to take back.
    pub fn bye(&self) -> Option<Bytes> {
        (self.number > 0).then(|| wire::encode(self.id, What::Bye))
    }

    /// At most `limit` of a channel's members, in no order.
    pub fn members(&self, channel: &str, limit: usize) -> Vec<Member> {
        self.table.members(channel).take(limit).cloned().collect()
    }

    /// How many members a channel has.
    pub fn count(&self, channel: &str) -> usize {
        self.table.count(channel)
    }

    /// Members of all channels.
    pub fn size(&self) -> usize {
        self.table.size()
    }

    /// Messages that could not be understood, and members that were passed over because of a limit.
    pub const fn skipped(&self) -> (u64, u64) {
        (self.bad, self.dropped)
    }

    fn held(&self) -> usize {
        let others: usize = self.peers.values().map(Peer::held).sum();
        self.own.len() + others + self.table.leaving()
    }

    /// An instance is no more; `heard`: since when.
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
