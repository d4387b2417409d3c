//! Positions: where a message is in the log of a broker. Only the backend that made a position can say what its offset
//! means.

use std::{fmt, str::FromStr};

use crate::HexText;

/// A place in a broker's log: everything up to and including it has been seen.
///
/// Opaque outside its backend. Two positions are comparable only within one `epoch` and `lane`; in a log any
/// position of a lane is valid for every channel of that lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log this is: changes when the log is recreated or can no longer be trusted.
    pub epoch: u64,
    /// Which ordered part of the log: a Kafka partition, a stream. 0 where there is one.
    pub lane: u32,
    /// The place within the lane. 128 bits, because a Redis stream id needs them.
    pub offset: u128,
}

impl Position {
    /// The longest text form in bytes.
    pub const MAX_TEXT: usize = 64;

    /// The text that clients are given and give back: three hexadecimal numbers, `epoch-lane-offset`.
    pub fn text(&self) -> HexText<{ Self::MAX_TEXT }> {
        let Self {
            epoch,
            lane,
            offset,
        } = *self;
        HexText::of(epoch).and(b'-', lane).and(b'-', offset)
    }

    /// Returns true if `self` lies after `other`, and `None` if they are of different logs or lanes.
    pub fn is_after(&self, other: &Self) -> Option<bool> {
        (self.epoch == other.epoch && self.lane == other.lane).then_some(self.offset > other.offset)
    }
}

/// As [`Position::text`].
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// Returns a part of the text if it consists of hexadecimal digits: `from_str_radix` alone would also take a `+`.
fn hex(part: Option<&str>) -> Result<&str, ParsePositionError> {
    part.filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or(ParsePositionError)
}

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsePositionError;

impl fmt::Display for ParsePositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a position; give back one that the hub sent")
    }
}

impl std::error::Error for ParsePositionError {}

/// The text before the first hyphen, and what is behind it if there is one. Byte by byte: for texts as short as these, the
/// standard library's searcher costs more than all else.
fn next_part(text: &str) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::MAX_TEXT {
            return Err(ParsePositionError);
        }
        let mut rest = Some(text);
        let mut parts = std::iter::from_fn(|| {
            let (part, more) = next_part(rest?);
            rest = more;
            Some(part)
        });
        let bad = |_| ParsePositionError;
        let position = Self {
            epoch: u64::from_str_radix(hex(parts.next())?, 16).map_err(bad)?,
            lane: u32::from_str_radix(hex(parts.next())?, 16).map_err(bad)?,
            offset: u128::from_str_radix(hex(parts.next())?, 16).map_err(bad)?,
        };
        // A fourth part makes it something else.
        parts
            .next()
            .is_none()
            .then_some(position)
            .ok_or(ParsePositionError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_there_and_back_and_stays_short() {
        let largest = Position {
            epoch: u64::MAX,
            lane: u32::MAX,
            offset: u128::MAX,
        };
        for position in [
            Position {
                epoch: 0,
                lane: 0,
                offset: 0,
            },
            largest,
        ] {
            let text = position.to_string();
            assert!(text.len() <= Position::MAX_TEXT, "{text}");
            assert_eq!(text.parse(), Ok(position));
        }
    }

    #[test]
    fn foreign_text_is_refused() {
        for text in [
            "",
            "-",
            "1-2",
            "1-2-3-4",
            "x-1-1",
            "+1-1-1",
            "1-1-",
            "1-100000000-1",
            &"1".repeat(65),
        ] {
            assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text}");
        }
    }

    #[test]
    fn positions_of_different_logs_do_not_compare() {
        let a = Position {
            epoch: 1,
            lane: 0,
            offset: 5,
        };
        assert_eq!(Position { offset: 6, ..a }.is_after(&a), Some(true));
        assert_eq!(a.is_after(&a), Some(false));
        assert_eq!(Position { epoch: 2, ..a }.is_after(&a), None);
        assert_eq!(Position { lane: 1, ..a }.is_after(&a), None);
    }
}
