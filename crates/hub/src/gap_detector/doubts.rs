//! Decides whether a hole behind an announced loss is a part of that loss or came after it. Pure.
//!
//! Hubs that change to another server of their broker don't do so at the same moment. One that is
//! faster announces its loss, while another goes on publishing to the old server for some seconds.
//! Those messages are missing as well, and a client that fetched its state at the announcement has
//! not got them. A sender's beacons say how long it has been connected: what it sent before can be
//! lost, what it sent since then arrives.

use std::time::{Duration, Instant};

use hubplane_backplane::Origin;

use super::Word;
use crate::{map::HashMap, sequencer::Sequence};

/// How long a beacon that explains a hole is waited for. Without one, the hole is announced.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How much later than usual a beacon may come and still be believed.
const LATE: Duration = Duration::from_millis(500);
/// The most holes in doubt at once. Those beyond are announced at once.
const MOST: usize = 10_000;
/// Senders that have been silent for so long are forgotten.
const KEEP: Duration = Duration::from_secs(900);

/// A hole that may be part of a loss that was announced.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    /// Where numbers are missing.
    pub(crate) sequence: Sequence,
    /// The first number that is missing.
    pub(crate) first: Origin,
    /// When the loss was announced.
    pub(super) told: Instant,
    /// When the hole was seen.
    pub(super) seen: Instant,
}

/// The holes in doubt, and what beacons say of their senders.
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
    /// When its last beacon came that was not late.
    heard: Instant,
}

impl Doubts {
    /// Takes note of what a beacon says. One that comes late may have been made before its sender
    /// lost its broker, so it is passed over.
    pub(super) fn hear(&mut self, origin: u128, word: Word, now: Instant) {
        // Ages are turned into this instance's own times: clocks of different machines are not
        // compared.
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

    /// Returns true if everything that the origin sent before it was connected was sent before an
    /// announcement at `told`, so that the announcement covers it. `None` if it has not spoken
    /// since.
    pub(super) fn is_covered(&self, origin: u128, told: Instant) -> Option<bool> {
        let sender = self.senders.get(&origin)?;
        (sender.heard >= told).then_some(sender.connected <= told)
    }

    /// Takes note of a hole. Returns false, and keeps nothing, if there are too many.
    pub(super) fn add(&mut self, doubt: Doubt) -> bool {
        let room = self.open.len() < MOST;
        if room {
            self.open.push(doubt);
        }
        room
    }

    /// Forgets the doubts of a sequence: a new announcement covers what was seen before it.
    pub(super) fn forget(&mut self, sequence: &Sequence) {
        self.open.retain(|doubt| doubt.sequence != *sequence);
    }

    /// Returns the holes that no announcement covers, one for each sequence. Others wait on, for
    /// [`PATIENCE`] at most.
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
