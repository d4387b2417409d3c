//! What a client tells its program: messages, changes of subscriptions and connection, and errors.
//!
//! Plain values; how they come about is decided in `connection` and `subscriptions`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Member, Roster};

/// A message of a channel, as the hub sent it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Message {
    /// The channel, as it was subscribed.
    pub channel: Box<str>,
    /// The message's JSON, byte for byte as it was published: numbers keep their digits and keys their order.
    pub data: Box<RawValue>,
    /// Where the message is in the channel. Opaque: its only use is as `since`. Absent on brokers without positions.
    pub position: Option<Box<str>>,
    /// The same for every repetition of this message.
    pub id: Option<Box<str>>,
}

/// An event of a client. Events come in the order in which the hub sent what caused them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message; repetitions are dropped.
    Message(Message),
    /// Messages of the channel may have been missed: fetch the current state from its source again.
    Gap {
        /// The channel.
        channel: Box<str>,
        /// The hub's word for the cause, or [`NOT_RECOVERED`](super::NOT_RECOVERED) if the hub could not replay what
        /// came while the client was away.
        cause: Box<str>,
    },
    /// The hub's answer to a subscribe; there is one after each new connection.
    Subscribed {
        /// The channel.
        channel: Box<str>,
        /// The position after which messages follow; absent on brokers without positions.
        position: Option<Box<str>>,
        /// Whether the broker has everything after the position given. If so, it follows as messages.
        recovered: bool,
    },
    /// A member has joined a channel.
    Join {
        /// The channel.
        channel: Box<str>,
        /// The member.
        member: Member,
    },
    /// A member has left a channel.
    Leave {
        /// The channel.
        channel: Box<str>,
        /// The member.
        member: Member,
    },
    /// The answer to [`Client::ask_members`](super::Client::ask_members).
    Members(Roster),
    /// The hub refuses the subscription for good, or has ended it. The client does not subscribe again.
    Refused {
        /// The channel.
        channel: Box<str>,
        /// The hub's error code.
        code: Box<str>,
        /// A sentence.
        message: Box<str>,
    },
    /// The connection has ended. The client tries to connect until it succeeds; then [`Event::Up`] follows.
    Down {
        /// Why, for people to read.
        reason: String,
    },
    /// Connected again.
    Up,
    /// The hub does not accept the client's token, nor the one that was fetched after it. No event follows, and each call
    /// fails with [`Error::Closed`].
    Unauthorized {
        /// The hub's error code, mostly `unauthorized`.
        code: Box<str>,
        /// A sentence that says what is wrong with the token.
        message: Box<str>,
    },
    /// The hub has told this client not to come back. No event follows, and each call fails with [`Error::Closed`].
    Ended {
        /// The hub's close code and reason.
        reason: String,
    },
}

/// The acknowledgement of a publish: the broker has the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// The id that was given, or that the client made.
    pub id: Box<str>,
    /// Where the message is in the channel; absent on brokers without positions.
    pub position: Option<Box<str>>,
}

/// What a client could not do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The first connection failed. With the reason.
    Connect(String),
    /// The hub refused the first connection, such as for a wrong key (401) or a foreign origin (403).
    Denied {
        /// The HTTP status.
        status: u16,
        /// The hub's reason.
        detail: Box<str>,
    },
    /// The program's function gave no token for the first connection. With its reason.
    Token(String),
    /// The options can't work. With the reason.
    Options(String),
    /// The hub refuses this publish; sending it again does not help.
    Refused {
        /// The hub's error code.
        code: Box<str>,
        /// A sentence.
        message: Box<str>,
    },
    /// The publish is larger than [`Options::message_bytes`](super::Options::message_bytes).
    TooLarge,
    /// Too many publishes wait already.
    Full,
    /// No acknowledgement came in time. The message may be published all the same, so try again with the same id.
    Timeout,
    /// The client has ended; what was sent may be published all the same.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(reason) | Self::Options(reason) => f.write_str(reason),
            Self::Token(reason) => write!(f, "no token: {reason}"),
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
