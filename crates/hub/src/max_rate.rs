//! How many of a channel's messages a client wants in a second: its own wish, given with a
//! subscribe. How the others are held back is in `outbox/pace.rs`.

use std::{fmt, time::Duration};

/// A whole number of messages a second, from 1 to [`MaxRate::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxRate(u16);

impl MaxRate {
    /// The most that may be wished for: the hub's timer counts in milliseconds.
    pub const MOST: u16 = 1_000;

    /// Returns the rate of so many messages a second.
    ///
    /// # Errors
    ///
    /// Returns [`BadMaxRate`] for 0 and for more than [`MaxRate::MOST`].
    pub fn new(per_second: u64) -> Result<Self, BadMaxRate> {
        match u16::try_from(per_second) {
            Ok(some @ 1..=Self::MOST) => Ok(Self(some)),
            _ => Err(BadMaxRate),
        }
    }

    /// Returns the shortest time between two messages.
    pub(crate) fn interval(self) -> Duration {
        Duration::from_secs(1) / u32::from(self.0)
    }
}

/// The error for a number that is no [`MaxRate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMaxRate;

impl fmt::Display for BadMaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = MaxRate::MOST;
        write!(
            f,
            "max_rate is a whole number of messages a second, from 1 to {most}"
        )
    }
}

impl std::error::Error for BadMaxRate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_both_its_limits() {
        for wrong in [0, 1_001, u64::MAX] {
            assert_eq!(MaxRate::new(wrong), Err(BadMaxRate));
        }
        for (rate, millis) in [(1, 1_000), (5, 200), (1_000, 1)] {
            let interval = MaxRate::new(rate).unwrap().interval();
            assert_eq!(interval, Duration::from_millis(millis));
        }
    }
}
