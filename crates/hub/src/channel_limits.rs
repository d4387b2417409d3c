//! The limits that hold for one channel and one session, as values. Rules give them; this file
//! knows neither rules nor grants.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

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

/// A number of messages in a time, at least one. Written `20/s`, `100/m` or `500/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    messages: NonZeroU32,
    per: Unit,
}

/// The time that a rate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// Returns how many messages are allowed within [`Self::per`].
    pub const fn messages(self) -> u32 {
        self.messages.get()
    }

    /// Returns the time for which they are.
    pub const fn per(self) -> Duration {
        Duration::from_secs(match self.per {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        write!(f, "{}/{unit}", self.messages)
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let (messages, unit) = text.split_once('/').ok_or(BadRate)?;
        let per = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(BadRate),
        };
        // `parse` takes a plus sign, too.
        if !messages.bytes().all(|it| it.is_ascii_digit()) {
            return Err(BadRate);
        }
        let messages = messages.parse().or(Err(BadRate))?;
        Ok(Self { messages, per })
    }
}

/// The error for a text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRate;

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate is a number of messages, at least 1, a second, minute or hour: 20/s, 100/m, 500/h")
    }
}

impl std::error::Error for BadRate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_back_and_nothing_else_is() {
        for (text, messages, seconds) in [
            ("20/s", 20, 1),
            ("100/m", 100, 60),
            ("4294967295/h", u32::MAX, 3_600),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.messages(), rate.per().as_secs()), (messages, seconds));
            assert_eq!(rate.to_string(), text);
        }
        for wrong in [
            "",
            "20",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "20/d",
            "20/",
            "/s",
            "20/sm",
            "20 /s",
            "4294967296/s",
        ] {
            assert_eq!(wrong.parse::<Rate>(), Err(BadRate), "{wrong}");
        }
    }
}
