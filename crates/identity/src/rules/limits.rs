//! What rules set besides permissions: limits of single channels. This file must not know rules.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

/// What a client is held to on one channel. By default the hub's own limits alone hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Bytes of a message's data at most; `None` leaves it at the hub's limit, which holds in any case.
    pub message_bytes: Option<usize>,
    /// How often one client may publish there; `None` is as often as it likes.
    pub publish_rate: Option<Rate>,
    /// What becomes of the channel's messages when a client takes too little.
    pub slow: Slow,
}

/// A number of messages in a time, at least one. Written `20/s`, `100/m` or `500/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    messages: NonZeroU32,
    unit: char,
}

/// The units of a rate, in seconds.
const UNITS: [(char, u64); 3] = [('s', 1), ('m', 60), ('h', 3_600)];

impl Rate {
    /// Returns how many messages are allowed within [`Self::per`].
    pub fn messages(self) -> u32 {
        self.messages.get()
    }

    /// Returns the time in which they are allowed.
    pub fn per(self) -> Duration {
        let unit = UNITS.into_iter().find(|(unit, _)| *unit == self.unit);
        Duration::from_secs(unit.map_or(1, |(_, seconds)| seconds))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (messages, unit) = text.split_once('/')?;
            let unit = UNITS.into_iter().find(|(it, _)| *unit == *it.to_string())?;
            // `parse` alone would take "+20".
            let digits = messages.bytes().all(|it| it.is_ascii_digit());
            let messages = messages.parse().ok().filter(|_| digits)?;
            Some(Self {
                messages,
                unit: unit.0,
            })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no rate: write a number of messages, at least 1, and a unit: 20/s, 100/m or 500/h")
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.messages, self.unit)
    }
}

/// What happens to a channel's messages when a client takes too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// The session ends once too much waits for it.
    #[default]
    Disconnect,
    /// The oldest messages that wait are dropped, and the client is told.
    DropOldest,
    /// Only the newest message waits.
    Latest,
}

impl FromStr for Slow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "disconnect" => Ok(Self::Disconnect),
            "drop-oldest" => Ok(Self::DropOldest),
            "latest" => Ok(Self::Latest),
            _ => Err(format!(
                "{text:?} is none of disconnect, drop-oldest and latest"
            )),
        }
    }
}

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
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
