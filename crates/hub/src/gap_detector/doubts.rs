//! Holes behind an announced loss: whether they are that loss, or came after it.
//!
//! Hubs that change to another server of their broker don't do it at the same moment. One that is faster announces its
//! loss, and the other goes on publishing to the old server for some seconds: these messages are missing as well, and a
//! client that has fetched its state at the announcement has not got them. A sender's beacons say how long it has been
//! connected: what it sent before it was connected can be lost, what it sent since then arrives.

use std::time::{Duration, Instant};

use hubplane_backplane::Origin;

use super::Word;
use crate::{map::HashMap, sequencer::Sequence};

/// For so long a beacon that explains a hole is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How much later than usual a beacon may come and still be believed.
const LATE: Duration = Duration::from_millis(500);
/// Holes in doubt at once; those beyond are told at once.
const MOST: usize = 10_000;
/// Origins that were not heard of for so long are forgotten.
const KEEP: Duration = Duration::from_secs(900);

/// A hole that may be part of a loss that was announced.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    pub(crate) sequence: Sequence,
    /// The first number that is missing.
    pub(crate) first: Origin,
    /// When the loss was announced.
    pub(super) told: Instant,
    /// When the hole was seen.
    pub(super) seen: Instant,
}

/// What is in doubt, and what beacons say of their senders.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: Vec<Doubt>,
    senders: HashMap<u128, Sender>,
}

#[derive(Debug)]
struct Sender {
    /// When it started, by this instance's clock: the earliest that any of its beacons suggests.
    started: Instant,
    /// Since when it has been connected, at the latest.
    connected: Instant,
    /// When it said so.
    heard: Instant,
}

impl Doubts {
    /// A beacon. One that comes late was made before its sender lost its broker, perhaps: it is passed over.
    pub(super) fn hear(&mut self, origin: u128, word: Word, now: Instant) {
        let ago = |time: Duration| now.checked_sub(time).unwrap_or(now);
        let (started, Some(connected)) = (ago(word.up), word.connected.map(ago)) else {
            return;
        };
        let fresh = || Sender {
            started,
            connected,
            heard: now,
        };
        let sender = self.senders.entry(origin).or_insert_with(fresh);
        sender.started = sender.started.min(started);
        if started <= sender.started + LATE {
            sender.connected = connected;
            sender.heard = now;
        }
    }

    /// Returns true if all that the origin sent until it was connected was sent before an announcement at `told`; `None`
    /// if it has not said how long it has been connected.
    pub(super) fn is_covered(&self, origin: u128, told: Instant) -> Option<bool> {
        let sender = self.senders.get(&origin)?;
        (sender.heard >= told).then_some(sender.connected <= told)
    }

    /// Takes note of a hole. Returns false if there are too many.
    pub(super) fn add(&mut self, doubt: Doubt) -> bool {
        let room = self.open.len() < MOST;
        if room {
            self.open.push(doubt);
        }
        room
    }

    /// A loss was announced since: it covers what was seen before.
    pub(super) fn forget(&mut self, sequence: &Sequence) {
        self.open.retain(|doubt| doubt.sequence != *sequence);
    }

    /// The holes that no announcement covers, one for each sequence.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Doubt> {
        self.senders
            .retain(|_, sender| now.saturating_duration_since(sender.heard) < KEEP);
        let mut told: Vec<Doubt> = Vec::new();
        for doubt in std::mem::take(&mut self.open) {
            let heard = self.senders.get(&doubt.first.id).map(|sender| sender.heard);
            let known = heard.is_some_and(|heard| heard >= doubt.seen);
            let patient = now.saturating_duration_since(doubt.seen) < PATIENCE;
            if known && self.is_covered(doubt.first.id, doubt.told) == Some(true) {
                continue;
            }
            if !known && patient {
                self.open.push(doubt);
            } else if told.iter().all(|other| other.sequence != doubt.sequence) {
                told.push(doubt);
            }
        }
        // One announcement for a sequence covers all that was seen in it.
        for doubt in &told {
            self.forget(&doubt.sequence);
        }
        told
    }
}
