//! Subscriptions whose client stands at a position that this shard has not been shown yet. Either
//! another instance was faster, or the log was cut behind the client: only time tells which.
//!
//! Entries are kept by lane and position, so a lane that moves on wakes only those whose turn it
//! is. Every entry is in both maps of [`Ahead`] or in neither. This file knows no session and no
//! window: it hands out keys, and the caller acts on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{key::SubscriptionKey, map::HashMap, position::ClientPosition};

/// Names one entry that waits here. Later entries have larger numbers.
pub(super) type Ticket = u64;

/// One subscription that waits.
#[derive(Debug)]
struct Entry {
    subscription: SubscriptionKey,
    /// The client's position: the lane's head must reach it.
    at: ClientPosition,
    /// When the wait is over and the position counts as lost.
    until: Instant,
}

/// All subscriptions of one shard that wait for its heads.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    next: Ticket,
    /// Every subscription waits equally long, so the first entry is also the first to give up.
    entries: BTreeMap<Ticket, Entry>,
    /// By lane and epoch; the smallest position, which is reached first, is in front.
    lanes: BTreeMap<(u32, u64), BTreeSet<(u128, Ticket)>>,
    /// No entry gives up before this time: until then this instance may only be behind because it
    /// heard nothing from its broker.
    patient_until: Option<Instant>,
}

impl Ahead {
    /// Returns true if nothing waits, so that the shard can skip the rest after most batches.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lets a subscription wait until the head of its lane reaches `at`, or until the time `until`.
    /// Returns the ticket that takes it out again. `until` must not be earlier than that of any
    /// entry before it.
    pub(super) fn add(
        &mut self,
        subscription: SubscriptionKey,
        at: ClientPosition,
        until: Instant,
    ) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        let lane = self.lanes.entry((at.lane, at.epoch)).or_default();
        lane.insert((at.offset, ticket));
        let entry = Entry {
            subscription,
            at,
            until,
        };
        self.entries.insert(ticket, entry);
        ticket
    }

    /// Takes an entry out and returns its subscription. Returns `None` if the ticket has been taken
    /// out already.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<SubscriptionKey> {
        let Entry {
            subscription, at, ..
        } = self.entries.remove(&ticket)?;
        let key = (at.lane, at.epoch);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.remove(&(at.offset, ticket));
            if lane.is_empty() {
                self.lanes.remove(&key);
            }
        }
        Some(subscription)
    }

    /// Takes out the subscriptions whose lane has come as far as their clients, and those whose
    /// lane has begun another epoch: in that one their position never comes.
    pub(super) fn reached(&mut self, heads: &HashMap<u32, ClientPosition>) -> Vec<SubscriptionKey> {
        let mut tickets = Vec::new();
        for (&(lane, epoch), waiting) in &self.lanes {
            let Some(head) = heads.get(&lane) else {
                continue;
            };
            // In another epoch no offset can be compared, so everybody of the old one is let go.
            let upto = match head.epoch == epoch {
                true => head.offset,
                false => u128::MAX,
            };
            let reached = waiting.range(..=(upto, Ticket::MAX));
            tickets.extend(reached.map(|(_, ticket)| *ticket));
        }
        // Removed after the loop, since `remove` changes the map that it reads.
        let reached = tickets.into_iter();
        reached.filter_map(|ticket| self.remove(ticket)).collect()
    }

    /// Notes that this instance hears nothing from its broker: no entry gives up before `until`.
    pub(super) const fn be_patient(&mut self, until: Instant) {
        self.patient_until = Some(until);
    }

    /// Takes out the subscriptions that have waited long enough. Returns none while
    /// [`Ahead::be_patient`] holds.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<SubscriptionKey> {
        if self.patient_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let due = self.entries.iter().take_while(|(_, it)| it.until <= now);
        let tickets: Vec<_> = due.map(|(&ticket, _)| ticket).collect();
        let due = tickets.into_iter();
        due.filter_map(|ticket| self.remove(ticket)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::Key;

    fn key(serial: u64) -> SubscriptionKey {
        let session = Key {
            index: 0,
            serial: 0,
        };
        SubscriptionKey { session, serial }
    }

    fn at(text: &str) -> ClientPosition {
        text.parse().unwrap()
    }

    #[test]
    fn a_lane_that_moves_on_wakes_only_those_that_it_has_reached() {
        let mut ahead = Ahead::default();
        let until = Instant::now();
        for (serial, position) in ["1-0-5", "1-0-3", "1-1-3", "9-2-1"].into_iter().enumerate() {
            ahead.add(key(serial as u64), at(position), until);
        }
        let heads = |texts: &[&str]| -> HashMap<_, _> {
            texts.iter().map(|text| (at(text).lane, at(text))).collect()
        };
        assert_eq!(ahead.reached(&heads(&["1-0-2"])), []);
        assert_eq!(ahead.reached(&heads(&["1-0-4"])), [key(1)]);
        // The third lane is another log now; what was awaited of the old one never comes.
        assert_eq!(ahead.reached(&heads(&["1-0-4", "a-2-0"])), [key(3)]);
        assert_eq!(ahead.reached(&heads(&["1-0-9", "1-1-9"])), [key(0), key(2)]);
        assert!(ahead.is_empty() && ahead.lanes.is_empty());
    }

    #[test]
    fn who_left_is_forgotten_and_who_waits_too_long_gives_up() {
        let mut ahead = Ahead::default();
        let now = Instant::now();
        let soon = now + Duration::from_secs(1);
        let left = ahead.add(key(0), at("1-0-5"), now);
        ahead.add(key(1), at("1-0-5"), now);
        ahead.add(key(2), at("1-0-5"), soon);
        assert_eq!(ahead.remove(left), Some(key(0)));
        assert_eq!(ahead.remove(left), None);
        ahead.be_patient(soon);
        assert_eq!(ahead.give_up(now), []);
        assert_eq!(ahead.give_up(soon), [key(1), key(2)]);
        assert!(ahead.is_empty() && ahead.lanes.is_empty());
    }
}
