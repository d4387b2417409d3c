//! What is known of the log: which one it is and how far it goes. The reader writes it, the history
//! reads it.

use hubplane_backplane::Position;

/// The only lane: one stream holds all channels.
pub(crate) const LANE: u32 = 0;

/// What is known of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Which log it is; see [`super::log`].
    pub(crate) epoch: u64,
    /// The offset that comes next.
    pub(crate) next: u64,
    /// Whether the reader is connected, so that the rest is true now.
    pub(crate) up: bool,
}

impl Known {
    /// Returns the position of an offset in this log.
    pub(crate) fn position(self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            lane: LANE,
            offset: offset.into(),
        }
    }
}
