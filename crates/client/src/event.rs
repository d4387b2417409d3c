//! What a client hears.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Member, Roster};

/// A message of a channel, as the hub sent it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Message {
    /// Of the subscription.
    pub channel: Box<str>,
    /// Its JSON, byte for byte.
    pub data: Box<RawValue>,
    /// Opaque, only to be given back as `since`; none on brokers without positions.
    pub position: Option<Box<str>>,
    /// The same for every repetition of this message.
    pub id: Option<Box<str>>,
}

/// Something that a client hears. Events come in the order of what the hub sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message; repetitions are dropped.
    Message(Message),
    /// Messages of the channel may have been missed: fetch the state again from where it lives.
    Gap {
        /// Whose.
        channel: Box<str>,
        /// As the hub says it; [`NOT_RECOVERED`](super::NOT_RECOVERED) when it could not say what was missed.
        cause: Box<str>,
    },
    /// The hub's answer to a subscribe; there is one after each new connection.
    Subscribed {
        /// Whose.
        channel: Box<str>,
        /// Where it begins.
        position: Option<Box<str>>,
        /// Everything after the position given was kept, and comes after this.
        recovered: bool,
    },
    /// Somebody has come to the channel.
    Join {
        /// Which.
        channel: Box<str>,
        /// Who.
        member: Member,
    },
    /// Somebody has left it.
    Leave {
        /// Which.
        channel: Box<str>,
        /// Who.
        member: Member,
    },
    /// The answer to [`Client::ask_members`](super::Client::ask_members).
    Members(Roster),
    /// The subscription is refused for good, or was ended by the hub, and is gone.
    Refused {
        /// Whose.
        channel: Box<str>,
        /// The hub's error code.
        code: Box<str>,
        /// A sentence.
        message: Box<str>,
    },
    /// The connection has ended, or an attempt failed; the next follows.
    Down {
        /// A sentence.
        reason: String,
    },
    /// Connected again.
    Up,
    /// The hub does not want this client back: nothing follows.
    Ended {
        /// Its close code and reason.
        reason: String,
    },
}

/// The broker has a publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// Given or made.
    pub id: Box<str>,
    /// Where it is in the log, if there is one.
    pub position: Option<Box<str>>,
}

/// What a client could not do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The first connection failed.
    Connect(String),
    /// The hub refused the first connection, such as for a wrong key (401) or a foreign origin (403).
    Denied {
        /// The HTTP status.
        status: u16,
        /// The hub's reason.
        detail: Box<str>,
    },
    /// The options can't work.
    Options(String),
    /// The hub will not take this publish.
    Refused {
        /// The hub's error code.
        code: Box<str>,
        /// A sentence.
        message: Box<str>,
    },
    /// Larger than [`Options::message_bytes`](super::Options::message_bytes).
    TooLarge,
    /// Too many publishes wait already.
    Full,
    /// No acknowledgement in time; it may be published all the same. Try again with the same id.
    Timeout,
    /// The client has ended; what was sent may be published all the same.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(reason) | Self::Options(reason) => f.write_str(reason),
            Self::Denied { status, detail } => write!(f, "{status}: {detail}"),
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
            Self::TooLarge => f.write_str("the message is too large"),
            Self::Full => f.write_str("too many publishes wait already"),
            Self::Timeout => f.write_str("no acknowledgement in time"),
            Self::Closed => f.write_str("the client has ended"),
        }
    }
}

impl std::error::Error for Error {}
