//! Who is on a channel, as a client says and hears it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{Event, wire::Incoming};

/// How a subscription takes part in its channel's presence.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Presence {
    /// To be there as this client: printable ASCII, at most 64 bytes. It is one member, however many connections call
    /// themselves so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<str>>,
    /// Who it is for, at most 255 bytes. Nobody checks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// Anything that it tells of itself, at most 1,024 bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Value>,
    /// To hear [`Event::Join`] and [`Event::Leave`].
    pub watch: bool,
}

/// A member of a channel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Member {
    /// What it calls itself.
    pub client: Box<str>,
    /// Who it says that it is for.
    pub user: Option<Box<str>>,
    /// What it tells of itself.
    pub info: Option<Box<RawValue>>,
}

/// Who is on a channel: what joins and leaves have told before is in it, and what comes after it they tell.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "presence")]
pub struct Roster {
    /// Which.
    pub channel: Box<str>,
    /// All of them.
    pub count: u64,
    /// As many as the hub names in one answer, in no order.
    pub members: Vec<Member>,
    /// There are others.
    pub more: bool,
}

/// What a `join`, a `leave` or the answer to a question says.
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
