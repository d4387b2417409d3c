//! Where a client is in the log: the position that clients are given and give back.
//!
//! It is a type of its own because it isn't the backend's: the lane's generation is mixed into its epoch.
//! [`Generations`](super::generations::Generations) converts, in both directions; nothing else does.

use std::{fmt, str::FromStr};

use hubplane_backplane::{ParsePositionError, Position};

/// A place in a lane of the log, as clients know it: everything up to and including it has been seen.
///
/// Clients treat its text as opaque. Two positions are comparable only within one epoch and lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientPosition {
    pub(crate) epoch: u64,
    pub(crate) lane: u32,
    pub(crate) offset: u128,
}

impl ClientPosition {
    /// The longest text form in bytes.
    pub const MAX_TEXT: usize = Position::MAX_TEXT;

    /// Whether `self` lies after `other`; `None` if the two are of different logs.
    pub fn is_after(&self, other: &Self) -> Option<bool> {
        (self.epoch == other.epoch && self.lane == other.lane).then_some(self.offset > other.offset)
    }
}

/// Three hexadecimal numbers, `epoch-lane-offset`.
impl fmt::Display for ClientPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            lane,
            offset,
        } = self;
        write!(f, "{epoch:x}-{lane:x}-{offset:x}")
    }
}

impl FromStr for ClientPosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Position {
            epoch,
            lane,
            offset,
        } = text.parse()?;
        Ok(Self {
            epoch,
            lane,
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_back_and_stays_short() {
        let largest = ClientPosition {
            epoch: u64::MAX,
            lane: u32::MAX,
            offset: u128::MAX,
        };
        let text = largest.to_string();
        assert!(text.len() <= ClientPosition::MAX_TEXT, "{text}");
        assert_eq!(text.parse(), Ok(largest));
        assert_eq!("1-2".parse::<ClientPosition>(), Err(ParsePositionError));
    }
}
