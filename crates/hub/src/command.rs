//! The protocol-neutral vocabulary between a client and the hub. Every format translates into these
//! words and out of them; none of them belongs to one format.

use std::sync::Arc;

use bytes::Bytes;
use hubplane_backplane::{Channel, GapCause, MessageId};

pub use hubplane_backplane::Secret;

use super::{
    grant::Grant,
    max_rate::MaxRate,
    message::Message,
    position::ClientPosition,
    presence::{Change, PresenceOptions, Roster},
};

/// What a client gave to recognise the reply by: opaque text in the client's own format.
pub type Ref = Box<str>;

/// A client's own name for one of its subscriptions, in formats that have such.
pub type Tag = Box<str>;

/// One of a session's subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one to this channel that has no tag.
    Channel(Channel),
    /// The one with this tag.
    Tag(Tag),
}

/// What a client asks for. Names in it are not checked yet: the shard does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Receive a channel's messages, beginning after a position if one is given.
    Subscribe {
        /// The client's own reference, which the reply carries back.
        reference: Option<Ref>,
        /// As the client gave it; the shard checks it.
        channel: Channel,
        /// The client's own name for it. A session may subscribe to one channel several times, under several tags.
        tag: Option<Tag>,
        /// The last position that the client has seen.
        since: Option<ClientPosition>,
        /// Its part in the channel's presence; `None` leaves that as it is.
        presence: Option<Box<PresenceOptions>>,
        /// How many messages a second it wants at most; `None` leaves that as it is.
        max_rate: Option<MaxRate>,
    },
    /// Stop receiving a channel's messages.
    Unsubscribe {
        /// The client's own reference, which the reply carries back.
        reference: Option<Ref>,
        /// As the client gave it; the shard checks it.
        which: Which,
    },
    /// Publish a message.
    Publish {
        /// The client's own reference, which the reply carries back.
        reference: Option<Ref>,
        /// As the client gave it; the shard checks it.
        channel: Channel,
        /// The bytes to publish.
        data: Bytes,
        /// The publisher's own id, for retries.
        id: Option<MessageId>,
        /// True if this session itself must not receive the message.
        not_to_me: bool,
    },
    /// Ask who is on a channel.
    Members {
        /// The client's own reference, which the reply carries back.
        reference: Option<Ref>,
        /// As the client gave it; the shard checks it.
        channel: Channel,
    },
    /// Show who the client is, at any time after it has connected. What it may do depends on that from then on.
    Authenticate {
        /// The client's own reference, which the reply carries back.
        reference: Option<Ref>,
        /// A key, a token, or something else that proves it.
        proof: Secret,
    },
    /// Ask whether the hub is there.
    Ping,
}

impl Command {
    /// Returns what the client gave to recognise the reply by.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Subscribe { reference, .. }
            | Self::Unsubscribe { reference, .. }
            | Self::Publish { reference, .. }
            | Self::Members { reference, .. }
            | Self::Authenticate { reference, .. } => reference.as_deref(),
            Self::Ping => None,
        }
    }
}

/// The hub's answer to a [`Command`].
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// The subscription stands.
    Subscribed {
        /// As in the command.
        reference: Option<&'a str>,
        /// As in the command.
        channel: &'a str,
        /// As in the command.
        tag: Option<&'a str>,
        /// Everything after this position will be delivered; `None` on brokers without positions.
        position: Option<ClientPosition>,
        /// True if everything since the position that the client gave is delivered or follows.
        recovered: bool,
        /// What the client missed, oldest first, in formats whose answer carries it; in all others it follows.
        missed: &'a [&'a Message],
        /// Who is there, in formats whose answer carries it. A change that is pushed soon after may be in it already.
        members: Option<&'a Roster>,
    },
    /// The subscription is gone.
    Unsubscribed {
        /// As in the command.
        reference: Option<&'a str>,
        /// As in the subscription.
        channel: &'a str,
        /// As in the subscription.
        tag: Option<&'a str>,
    },
    /// The broker has the publication.
    Published {
        /// As in the command.
        reference: Option<&'a str>,
        /// Its place in the log, where there is one.
        position: Option<ClientPosition>,
    },
    /// Who is on a channel, as of after the changes that were pushed before: the first part of the answer. The second
    /// is what [`Format::members`](super::format::Format::members) writes.
    Members {
        /// As in the command.
        reference: Option<&'a str>,
        /// As in the command.
        channel: &'a str,
    },
    /// The command failed; the session goes on.
    Error {
        /// The command's, where it could be read.
        reference: Option<&'a str>,
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: &'a str,
    },
    /// The client has shown who it is.
    Authenticated {
        /// As in the command.
        reference: Option<&'a str>,
        /// What it may do from now on.
        grant: &'a Grant,
    },
    /// No answer, but told to one client alone: the session's grant is over in so many seconds. The
    /// client should show a new token before.
    Expiring(u64),
    /// Answers a ping.
    Pong,
}

/// What the hub sends by itself.
#[derive(Clone, Copy, Debug)]
pub enum Push<'a> {
    /// A message of a subscribed channel.
    Message(&'a Message),
    /// Messages of a subscribed channel may have been missed.
    Gap {
        /// The channel.
        channel: &'a str,
        /// Why they may have been missed.
        cause: GapCause,
    },
    /// Somebody has come to a subscribed channel, or left it.
    Presence(&'a Change),
}

/// Why a command failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The command can't be understood.
    Malformed,
    /// The channel's name is not allowed.
    BadChannel,
    /// What a member says of itself is not allowed.
    BadPresence,
    /// A limit is reached; the message says which.
    LimitReached,
    /// This session may not do that.
    Forbidden,
    /// What the client showed does not prove who it is.
    Unauthorized,
    /// The broker will never accept it.
    Rejected,
    /// The broker is away; the message is not stored.
    Unavailable,
    /// The broker gave no answer; the message may be stored.
    Unknown,
    /// Not subscribed to that channel.
    NotSubscribed,
}

impl ErrorCode {
    /// Returns the code as clients read it. These texts are an interface and never change.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadChannel => "bad_channel",
            Self::BadPresence => "bad_presence",
            Self::LimitReached => "limit_reached",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::NotSubscribed => "not_subscribed",
        }
    }
}

/// Why the hub ends a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client doesn't read fast enough, so its outbox is full.
    Slow,
    /// The client has not answered a ping.
    NoPong,
    /// The time of its grant is over. The client may connect again and show who it is.
    Expired,
    /// Somebody who operates the hub has ended it, for this reason. The client should not come back
    /// by itself.
    Disconnected(Arc<str>),
    /// This instance stops. Another one will take the client.
    Restart,
    /// The hub failed on this session.
    Failed,
}
