//! Generations: when a lane's positions can no longer be trusted although the broker says nothing,
//! the instances agree on a new epoch for the lane. Beacons carry the generation, so that all take
//! it over, also those that start later. Pure.
//!
//! This is the only place where the backend's positions and those that clients see are converted
//! into each other.

use hubplane_backplane::{Origin, Position};
use serde::{Deserialize, Serialize};

use super::{
    map::HashMap,
    position::{ClientPosition, Fingerprint},
    sabotage,
};

/// Which generation of a lane: a counter, and a token of what was missing. The larger one wins
/// everywhere. The first is all zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Generation(u32, u32);

impl Generation {
    /// Returns true for the first generation, which beacons need not carry.
    pub(super) fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what is mixed into the backend's epoch; 0 for the first generation.
    const fn salt(self) -> u64 {
        // An odd factor, so that neighbours don't look alike; 0 stays 0.
        (((self.0 as u64) << 32) | self.1 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The generations of this instance's lanes. Lanes in their first are not here.
#[derive(Debug, Default)]
pub(super) struct Generations {
    lanes: HashMap<u32, Generation>,
}

impl Generations {
    /// Returns a lane's generation.
    pub(super) fn of(&self, lane: u32) -> Generation {
        self.lanes.get(&lane).copied().unwrap_or_default()
    }

    /// Converts the backend's position into the one that clients are given. `fingerprint` is that
    /// of the message at the place, if it is known.
    pub(super) fn to_client(
        &self,
        position: Position,
        fingerprint: Option<Fingerprint>,
    ) -> ClientPosition {
        let Position {
            epoch,
            lane,
            offset,
        } = position;
        let epoch =
            sabotage::reuse_epoch(lane, epoch).unwrap_or_else(|| epoch ^ self.of(lane).salt());
        ClientPosition {
            epoch,
            lane,
            offset,
            fingerprint,
        }
    }

    /// Converts a client's position into the backend's. One of another generation becomes a
    /// position of an epoch that the backend does not have.
    pub(super) fn to_backend(&self, position: ClientPosition) -> Position {
        let ClientPosition {
            epoch,
            lane,
            offset,
            fingerprint: _,
        } = position;
        let epoch =
            sabotage::present_epoch(lane, epoch).unwrap_or_else(|| epoch ^ self.of(lane).salt());
        Position {
            epoch,
            lane,
            offset,
        }
    }

    /// Begins a new generation, because of what is missing if that is known. All instances that
    /// miss the same begin the same one, without asking each other.
    pub(super) fn begin(&mut self, lane: u32, missing: Option<Origin>) {
        let now = self.of(lane);
        let token = missing.map_or(1, |origin| {
            // Two that miss something else at the same time must not get the same token.
            let id = origin.id as u64 ^ (origin.id >> 64) as u64;
            let mixed = (id ^ origin.number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed >> 32) as u32).max(1)
        });
        self.lanes
            .insert(lane, Generation(now.0.wrapping_add(1), token));
    }

    /// Takes over what another instance says of a lane. Returns true if that is news, so that old
    /// positions are void.
    pub(super) fn adopt(&mut self, lane: u32, said: Generation) -> bool {
        let news = said > self.of(lane);
        if news {
            self.lanes.insert(lane, said);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position {
        epoch: 5,
        lane: 2,
        offset: 7,
    };

    #[test]
    fn the_first_generation_changes_nothing_and_each_later_one_the_epoch_alone() {
        let mut generations = Generations::default();
        let first = generations.to_client(POSITION, None);
        assert_eq!(first.to_string(), POSITION.to_string());
        generations.begin(2, None);
        let second = generations.to_client(POSITION, None);
        assert_ne!(second.epoch, first.epoch);
        assert_eq!(ClientPosition { epoch: 5, ..second }, first);
        assert_eq!(generations.to_backend(second), POSITION);
        assert_ne!(generations.to_backend(first), POSITION);
    }

    #[test]
    fn instances_that_miss_the_same_agree_and_others_follow_the_larger() {
        let missing = Some(Origin { id: 99, number: 3 });
        let (mut a, mut b, mut c) = (
            Generations::default(),
            Generations::default(),
            Generations::default(),
        );
        a.begin(2, missing);
        b.begin(2, missing);
        assert_eq!(a.to_client(POSITION, None), b.to_client(POSITION, None));
        assert!(c.adopt(2, a.of(2)));
        assert!(!c.adopt(2, b.of(2)) && !c.adopt(2, Generation::default()));
        assert_eq!(a.to_client(POSITION, None), c.to_client(POSITION, None));
    }
}
