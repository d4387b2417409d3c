//! One lane's part of the window.

use std::collections::VecDeque;

use hubplane_backplane::Channel;

use super::WindowEntry;
use crate::map::HashMap;
use crate::position::{ClientPosition, Fingerprint};

/// A lane's stretch: everything after `start` and up to `head` is here; nothing, while `start` is behind `head`.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) epoch: u64,
    pub(super) start: u128,
    pub(super) head: u128,
    pub(super) channels: HashMap<Channel, VecDeque<WindowEntry>>,
    /// Of every message from `start` on, also of those that no client gets: by them a client's position is recognised.
    fingerprints: VecDeque<(u128, Fingerprint)>,
}

impl Lane {
    /// Empty, for messages after this position.
    pub(super) fn new(position: ClientPosition) -> Self {
        Self {
            epoch: position.epoch,
            start: position.offset,
            head: position.offset,
            channels: HashMap::default(),
            fingerprints: VecDeque::new(),
        }
    }

    /// Takes note of the message at a place. Returns true if it was not known.
    pub(super) fn pass(&mut self, position: ClientPosition) -> bool {
        self.head = self.head.max(position.offset);
        let Some(fingerprint) = position.fingerprint else {
            return false;
        };
        let later = |&(offset, _): &(u128, Fingerprint)| offset > position.offset;
        // What is read from the log later than its successors is put where it belongs.
        let behind = self
            .fingerprints
            .iter()
            .rev()
            .take_while(|it| later(it))
            .count();
        let at = self.fingerprints.len() - behind;
        let known = at > 0 && self.fingerprints[at - 1].0 == position.offset;
        if !known {
            self.fingerprints.insert(at, (position.offset, fingerprint));
        }
        !known
    }

    /// What is here begins after this place from now on.
    pub(super) fn forget_to(&mut self, offset: u128) {
        self.start = self.start.max(offset);
        // The one at the start stays: clients stand there.
        while self
            .fingerprints
            .front()
            .is_some_and(|first| first.0 < self.start)
        {
            self.fingerprints.pop_front();
        }
    }

    /// The fingerprint of the message at a place; `None` if there is none here.
    pub(super) fn fingerprint(&self, offset: u128) -> Option<Fingerprint> {
        let at = self.fingerprints.binary_search_by_key(&offset, |it| it.0);
        Some(self.fingerprints[at.ok()?].1)
    }

    /// The last message up to a place.
    pub(super) fn last(&self, upto: u128) -> Option<(u128, Fingerprint)> {
        let behind = self.fingerprints.partition_point(|it| it.0 <= upto);
        self.fingerprints.get(behind.checked_sub(1)?).copied()
    }
}
