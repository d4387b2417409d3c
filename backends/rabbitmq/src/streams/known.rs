//! What is known of the log.

use hubplane_backplane::Position;

/// The only lane.
pub(crate) const LANE: u32 = 0;

/// What is known of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    /// The offset that comes next.
    pub(crate) next: u64,
    pub(crate) up: bool,
}

impl Known {
    pub(crate) fn position(self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            lane: LANE,
            offset: offset.into(),
        }
    }
}
