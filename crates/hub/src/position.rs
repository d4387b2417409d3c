//! Where a client is in the log: the position that clients are given and give back.
//!
//! It is a type of its own because it isn't the backend's: the lane's generation is mixed into its epoch, and it carries
//! a fingerprint of the message at its place. [`Generations`](super::generations::Generations) converts, in both
//! directions; nothing else does.

use std::{fmt, num::NonZeroU32, str::FromStr};

use hubplane_backplane::{Channel, HexText, Origin, ParsePositionError, Position, Publication};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::sabotage;

/// A place in a lane of the log, as clients know it: everything up to and including it has been seen.
///
/// Clients treat its text as opaque. Two positions are comparable only within one epoch and lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientPosition {
    pub(crate) epoch: u64,
    pub(crate) lane: u32,
    pub(crate) offset: u128,
    /// The fingerprint of the message at this place. `None` if no message of the lane was known
    /// when the position was given out.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl ClientPosition {
    /// The longest text form in bytes.
    pub const MAX_TEXT: usize = Position::MAX_TEXT;

    /// Returns the text form: three or four hexadecimal numbers, `epoch-lane-offset-fingerprint`.
    pub fn text(&self) -> HexText<{ Self::MAX_TEXT }> {
        let Self {
            epoch,
            lane,
            offset,
            fingerprint,
        } = *self;
        let place = HexText::of(epoch).and(b'-', lane).and(b'-', offset);
        match fingerprint {
            Some(Fingerprint(bits)) => place.and(b'-', bits.get()),
            None => place,
        }
    }

    /// Returns true if `self` lies after `other`, `None` if the two are of different logs or lanes.
    pub fn is_after(&self, other: &Self) -> Option<bool> {
        (self.epoch == other.epoch && self.lane == other.lane).then_some(self.offset > other.offset)
    }

    /// Returns true if the client means this message, which is at its place.
    pub(crate) fn is_of(&self, there: Fingerprint) -> bool {
        self.fingerprint == Some(there) || sabotage::trusts_positions()
    }
}

/// A short hash of one message. By it a hub that has just started, and has no memory of the log, sees that a log was
/// rolled back and has grown again: the message at a client's place is another one.
///
/// It has 20 bits because the longest position has room for five more digits. One foreign message in a million passes
/// for the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(NonZeroU32);

impl Fingerprint {
    const BITS: u32 = 20;
    /// Any fingerprint, for measurements and tests in which it doesn't matter.
    pub(crate) const ANY: Self = Self(NonZeroU32::MIN);

    /// Returns the fingerprint of a message as the backend gives it out.
    pub(crate) fn of_publication(publication: &Publication) -> Self {
        Self::of(&publication.channel, &publication.data, publication.origin)
    }

    /// Returns the fingerprint of a message as it is in the log. It is the same on every hub and in
    /// every version, since positions outlive hubs.
    pub(crate) fn of(channel: &Channel, data: &[u8], origin: Option<Origin>) -> Self {
        let (id, number) = origin.map_or_else(Default::default, |origin| {
            (origin.id.to_le_bytes(), origin.number.to_le_bytes())
        });
        let parts: [&[u8]; 5] = [
            if origin.is_some() { &id } else { &[] },
            if origin.is_some() { &number } else { &[] },
            channel.as_bytes(),
            // No channel has a zero byte, so channel and data can't run into one another.
            &[0],
            data,
        ];
        // Zero stands for no fingerprint, so it counts as one.
        let bits = (hash(parts) >> (64 - Self::BITS)) as u32;
        Self(NonZeroU32::new(bits).unwrap_or(NonZeroU32::MIN))
    }
}

/// Hashes all parts as if they were one. Most messages are short, and one call on a copy costs less
/// than half of what the hasher does that takes part after part.
fn hash(parts: [&[u8]; 5]) -> u64 {
    let mut joined = [0; 512];
    let mut len = 0;
    for part in parts {
        // Too long for the copy: the hasher takes the parts, with the same result.
        let Some(room) = joined.get_mut(len..len + part.len()) else {
            let mut hasher = Xxh3::new();
            parts.iter().for_each(|part| hasher.update(part));
            return hasher.digest();
        };
        room.copy_from_slice(part);
        len += part.len();
    }
    xxh3_64(&joined[..len])
}

/// Writes [`ClientPosition::text`].
impl fmt::Display for ClientPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl FromStr for ClientPosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Clients give back anything; nothing longer is looked at.
        if text.len() > Self::MAX_TEXT {
            return Err(ParsePositionError);
        }
        // A position without a fingerprint is valid, too, but is not recovered from.
        // Byte by byte: for a text as short as this, the searcher of the standard library costs more than it finds.
        let mut hyphens = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-');
        let (place, bits) = match hyphens.nth(2) {
            Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let Position {
            epoch,
            lane,
            offset,
        } = place.parse()?;
        let fingerprint = bits.map(fingerprint).transpose()?;
        Ok(Self {
            epoch,
            lane,
            offset,
            fingerprint,
        })
    }
}

/// Reads a fingerprint. Nothing but hexadecimal digits, no zero and no more than 20 bits are
/// accepted.
fn fingerprint(text: &str) -> Result<Fingerprint, ParsePositionError> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ParsePositionError);
    }
    let bits = u32::from_str_radix(text, 16).map_err(|_no_number| ParsePositionError)?;
    let bits = NonZeroU32::new(bits).filter(|bits| bits.get() >> Fingerprint::BITS == 0);
    bits.map(Fingerprint).ok_or(ParsePositionError)
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
            fingerprint: Some(Fingerprint(NonZeroU32::new(0xf_ffff).unwrap())),
        };
        let without = ClientPosition {
            fingerprint: None,
            ..largest
        };
        for position in [largest, without] {
            let text = position.to_string();
            assert!(text.len() <= ClientPosition::MAX_TEXT, "{text}");
            assert_eq!(text.parse(), Ok(position));
        }
        for text in [
            "1-2",
            "1-2-3-",
            "1-2-3-0",
            "1-2-3-100000",
            "1-2-3-4-5",
            "1-2-3-+4",
        ] {
            assert_eq!(
                text.parse::<ClientPosition>(),
                Err(ParsePositionError),
                "{text}"
            );
        }
    }

    #[test]
    fn a_fingerprint_tells_messages_apart_and_never_changes() {
        let of = |channel: &str, data: &str, number| {
            let origin = Some(Origin { id: 7, number });
            Fingerprint::of(&channel.into(), data.as_bytes(), origin)
        };
        let one = of("c", "x", 1);
        for other in [of("d", "x", 1), of("c", "y", 1), of("c", "x", 2)] {
            assert_ne!(one, other);
        }
        assert_ne!(
            Fingerprint::of(&"c".into(), b"x", None),
            Fingerprint::of(&"cx".into(), b"", None)
        );
        // However long the message is.
        let long = |filling: u8| Fingerprint::of(&"c".into(), &[filling; 5_000], None);
        assert_ne!(long(1), long(2));
        assert_eq!(
            hash([b"ab", b"c", b"", b"d", &[7; 600]]),
            xxh3_64(&[b"abcd".as_slice(), &[7; 600]].concat())
        );
        // Clients keep positions over an upgrade of the hubs.
        let fixed = Fingerprint::of(&"jobs.42".into(), b"{}", None);
        assert_eq!(fixed.0.get(), 565_613);
    }
}
