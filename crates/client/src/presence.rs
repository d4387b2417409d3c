//! Who is on a channel: how a client takes part, and what it learns of the others.
//!
//! The hub checks the limits named here; this file does not.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{Event, wire::Incoming};

/// How a subscription takes part in its channel's presence.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Presence {
    /// The name under which this client is a member: printable ASCII, at most 64 bytes. Several connections with the
    /// same name are one member. Without a name, the client is no member, but may watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<str>>,
    /// The user for whom the client is there, at most 255 bytes. Nobody checks that it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// Anything that the client tells of itself, at most 1,024 bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Value>,
    /// Whether the client gets [`Event::Join`] and [`Event::Leave`].
    pub watch: bool,
}

/// A member of a channel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Member {
    /// The member's name, as its client gave it.
    pub client: Box<str>,
    /// The user that its client named. Nobody checks it.
    pub user: Option<Box<str>>,
    /// What its client tells of itself: JSON, byte for byte.
    pub info: Option<Box<RawValue>>,
}

/// Who is on a channel at one moment. It includes the joins and leaves that came before it; those that come after it
/// change it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "presence")]
pub struct Roster {
    /// The channel.
    pub channel: Box<str>,
    /// How many members the channel has.
    pub count: u64,
    /// The members, in no order, as many as the hub names in one answer.
    pub members: Vec<Member>,
    /// Whether the channel has members that are not named here.
    pub more: bool,
}

/// Turns a `join`, a `leave` or a `presence` frame into its event. Returns `None` if a field is missing that it must have.
pub(super) fn event(frame: Incoming) -> Option<Event> {
    let channel = frame.channel?;
    if let Some(members) = frame.members {
        return Some(Event::Members(Roster {
            channel,
            count: frame.count,
            members,
            more: frame.more,
        }));
    }
    let member = Member {
        client: frame.client?,
        user: frame.user,
        info: frame.info,
    };
    Some(match &*frame.kind {
        "join" => Event::Join { channel, member },
        _ => Event::Leave { channel, member },
    })
}
