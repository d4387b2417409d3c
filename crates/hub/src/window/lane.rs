//! One lane's part of the window: how far it reaches, its messages by channel, and the fingerprints
//! of all its places. It knows neither limits nor times; the window tells it what to forget.

use std::collections::VecDeque;

use hubplane_backplane::Channel;

use super::WindowEntry;
use crate::map::HashMap;
use crate::position::{ClientPosition, Fingerprint};

/// A lane's stretch. Everything after `start` and up to `head` is here; nothing is, while `start`
/// is behind `head`.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) epoch: u64,
    pub(super) start: u128,
    pub(super) head: u128,
    pub(super) channels: HashMap<Channel, VecDeque<WindowEntry>>,
    /// The fingerprint of every message from `start` on, also of those that no client gets, in the
    /// order of their offsets. A client's position is recognised by them.
    fingerprints: VecDeque<(u128, Fingerprint)>,
}

impl Lane {
    /// Returns an empty stretch for the messages after this position.
    pub(super) fn new(position: ClientPosition) -> Self {
        Self {
            epoch: position.epoch,
            start: position.offset,
            head: position.offset,
            channels: HashMap::default(),
            fingerprints: VecDeque::new(),
        }
    }

    /// Notes the message at a place, if the position carries its fingerprint. Returns true if it
    /// was not known.
    pub(super) fn pass(&mut self, position: ClientPosition) -> bool {
        self.head = self.head.max(position.offset);
        let Some(fingerprint) = position.fingerprint else {
            return false;
        };
        let later = |&(offset, _): &(u128, Fingerprint)| offset > position.offset;
        // A message that is read from the log after its successors is put where it belongs.
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

    /// Lets the stretch begin after this place, and forgets the fingerprints before it.
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

    /// Returns the fingerprint of the message at a place, `None` if there is none here.
    pub(super) fn fingerprint(&self, offset: u128) -> Option<Fingerprint> {
        let at = self.fingerprints.binary_search_by_key(&offset, |it| it.0);
        Some(self.fingerprints[at.ok()?].1)
    }

    /// Returns the last message up to a place, by offset and fingerprint.
    pub(super) fn last(&self, upto: u128) -> Option<(u128, Fingerprint)> {
        let behind = self.fingerprints.partition_point(|it| it.0 <= upto);
        self.fingerprints.get(behind.checked_sub(1)?).copied()
    }
}
