//! Generations: when a lane's positions can no longer be trusted although the broker says nothing, its instances agree
//! on a new epoch for it. Beacons carry the generation, so that all take it over, also those that start later.

use hubplane_backplane::{Origin, Position};
use serde::{Deserialize, Serialize};

use super::{
    map::HashMap,
    position::{ClientPosition, Fingerprint},
    sabotage,
};

/// Which generation of a lane: the larger one wins everywhere. The first is all zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Generation(u32, u32);

impl Generation {
    pub(super) fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// What is mixed into the backend's epoch. Nothing for the first.
    const fn salt(self) -> u64 {
        // An odd factor, so that neighbours don't look alike; 0 stays 0.
        (((self.0 as u64) << 32) | self.1 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The generations of this instance's lanes.
#[derive(Debug, Default)]
pub(super) struct Generations {
    lanes: HashMap<u32, Generation>,
}

impl Generations {
    /// A lane's generation.
    pub(super) fn of(&self, lane: u32) -> Generation {
        self.lanes.get(&lane).copied().unwrap_or_default()
    }

    /// The backend's position as clients are given it. `fingerprint` is that of the message at the place, if known.
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

    /// A client's position as the backend knows it.
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

    /// Begins a new generation for what is missing. All instances that miss the same begin the same.
    pub(super) fn begin(&mut self, lane: u32, missing: Option<Origin>) {
        let now = self.of(lane);
        let token = missing.map_or(1, |origin| {
            let id = origin.id as u64 ^ (origin.id >> 64) as u64;
            let mixed = (id ^ origin.number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed >> 32) as u32).max(1)
        });
        self.lanes
            .insert(lane, Generation(now.0.wrapping_add(1), token));
    }

    /// Takes over what another instance says of a lane; `true` where that is news.
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
