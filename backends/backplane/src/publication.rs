//! What is published, what arrives, and what the broker answers. Data is bytes; nobody here looks inside.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

use crate::{HexText, Position};

/// A topic name. Any UTF-8 text as far as the contract goes; the hub is stricter towards its clients. Names that
/// begin with `$hubplane/` are the hub's own.
pub type Channel = Arc<str>;

/// Names a publication, so that a retry is recognised: at most 64 bytes of printable ASCII, chosen by the publisher.
pub type MessageId = Arc<str>;

/// The broker's own headers besides hubplane's: names and values as text.
pub type Tags = Vec<(Arc<str>, Arc<str>)>;

/// Who published, and the number of the message. By it receivers see that one is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Random, new at each start of a hub process.
    pub id: u128,
    /// Counts this origin's publications in one lane, from 1.
    pub number: u64,
}

impl Origin {
    /// `id.number`, both hexadecimal.
    pub fn text(&self) -> HexText<49> {
        HexText::of(self.id).and(b'.', self.number)
    }
}

/// As [`Origin::text`].
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl FromStr for Origin {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, number) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self {
            id: u128::from_str_radix(id, 16)?,
            number: u64::from_str_radix(number, 16)?,
        })
    }
}

/// One message as an instance receives it from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where it was published.
    pub channel: Channel,
    /// The bytes, exactly as published.
    pub data: Bytes,
    /// Its place in the log; `None` on brokers without one.
    pub position: Option<Position>,
    /// `None` if an outside producer gave none.
    pub id: Option<MessageId>,
    /// `None` if no hub published it.
    pub origin: Option<Origin>,
    /// The other headers of the broker.
    pub tags: Tags,
}

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub channel: Channel,
    /// The bytes; backends never look inside.
    pub data: Bytes,
    /// Travels in the broker's own headers.
    pub id: Option<MessageId>,
    /// Travels in the broker's own headers.
    pub origin: Option<Origin>,
    /// Travel as the broker's own headers.
    pub tags: Tags,
}

impl Outgoing {
    /// Returns a message without metadata: every broker carries it as a plain message of its own.
    pub fn new(channel: impl Into<Channel>, data: impl Into<Bytes>) -> Self {
        Self {
            channel: channel.into(),
            data: data.into(),
            id: None,
            origin: None,
            tags: Tags::new(),
        }
    }
}

/// What the broker's acknowledgement of a publication means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// In the log, at this place.
    Stored(Position),
    /// The broker has it and answered so, but tells no place.
    Accepted,
    /// Handed over; this broker's protocol has no answer.
    Sent,
}

impl Receipt {
    /// Returns the place in the log. `None` if the answer told none.
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Stored(position) => Some(*position),
            Self::Accepted | Self::Sent => None,
        }
    }
}
