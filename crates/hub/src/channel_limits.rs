//! The limits that hold for one channel and one session, as values. Rules give them; this file
//! knows neither rules nor grants.

use std::{fmt, num::NonZeroU32, str::FromStr};

use crate::slow::Slow;

/// What a session is held to on one channel. By default the hub's own limits alone hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Bytes of a message's data at most; `None` leaves it at the hub's limit.
    pub message_bytes: Option<usize>,
    /// How often the session may publish there; `None` is as often as it likes.
    pub publish_rate: Option<Rate>,
    /// What becomes of the channel's messages when the client takes too little.
    pub slow: Slow,
}

/// A number of messages a second, at least one. Written `20/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// Returns the rate of so many messages a second, `None` for none.
    pub const fn new(per_second: u32) -> Option<Self> {
        match NonZeroU32::new(per_second) {
            Some(per_second) => Some(Self(per_second)),
            None => None,
        }
    }

    /// Returns how many messages a second these are.
    pub const fn per_second(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let number = text.strip_suffix("/s").ok_or(BadRate)?;
        number.parse().map(Self).or(Err(BadRate))
    }
}

/// The error for a text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRate;

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate is a number of messages a second, at least 1, such as 20/s")
    }
}

impl std::error::Error for BadRate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_back_and_nothing_else_is() {
        let rate = Rate::new(20).unwrap();
        assert_eq!(
            (rate.to_string().parse(), rate.per_second()),
            (Ok(rate), 20)
        );
        for wrong in ["", "20", "0/s", "-1/s", "1.5/s", "20/m", "4294967296/s"] {
            assert_eq!(wrong.parse::<Rate>(), Err(BadRate), "{wrong}");
        }
    }
}
