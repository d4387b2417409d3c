//! A message as an entry of a stream, there and back: the fields `c` (channel), `d` (data), `i`
//! (id), `o` (origin), and all others as tags.
//!
//! No envelope is needed, since an entry has fields. Outside programs write and read these entries,
//! so the names are a promise of the documentation.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hubplane_backplane::{
    Channel, Outgoing, Position, Publication, Result,
    wire::{self, BoundedTags},
};
use redis::{Cmd, Value};

use super::{
    backend::{CAPABILITIES, STREAMS},
    config::{Keep, Log},
    log::Entry,
};
use crate::{
    outbox::rejected,
    pipeline::{Item, Stream},
};

/// Returns the command that stores a message, or `Rejected` with the reason why it can't be stored.
/// The command also cuts the stream's old end, which Redis does by itself at no other time.
pub(crate) fn item(log: &Log, outgoing: &Outgoing) -> Result<Item> {
    CAPABILITIES.check(STREAMS, &outgoing.channel, outgoing.data.len())?;
    let tags = &outgoing.tags;
    // The same bound as that of an envelope, so that both backends refuse the same messages.
    let words: usize = tags
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if words + outgoing.id.as_ref().map_or(0, |id| id.len()) > wire::MAX_ENVELOPE {
        let limit = wire::MAX_ENVELOPE;
        return Err(rejected(format!(
            "id and tags have more than {limit} bytes"
        )));
    }
    let lane = log.keys.lane(&outgoing.channel);
    // What counts against a pipeline's bytes; the fields are small beside it.
    let size = outgoing.data.len();
    // Room for the fields' names, the key and the lengths, so that the command is put together
    // without moving it.
    let mut command = Cmd::with_capacity(13 + 2 * tags.len(), 200 + size + words);
    command.arg("XADD").arg(&log.keys.of(lane).stream);
    match log.keep {
        Keep::Length(most) => command.arg("MAXLEN").arg("~").arg(most),
        Keep::Age(age) => command.arg("MINID").arg("~").arg(oldest(age)),
    };
    // Redis gives the id: that is what makes one order of all publishers.
    command.arg("*").arg("c").arg(&*outgoing.channel);
    command.arg("d").arg(&outgoing.data[..]);
    // An empty id or origin says that there is none, so that a tag of the same name is not taken
    // for it.
    let named = |name| tags.iter().any(|(tag, _)| &**tag == name);
    // An empty one says that there is none, so that a tag of that name is not taken for it.
    if outgoing.id.is_some() || named("i") {
        command
            .arg("i")
            .arg(outgoing.id.as_deref().unwrap_or_default());
    }
    if outgoing.origin.is_some() || named("o") {
        let origin = outgoing.origin.map(|origin| origin.to_string());
        command.arg("o").arg(origin.unwrap_or_default());
    }
    for (name, value) in tags {
        command.arg(&**name).arg(&**value);
    }
    Ok(Item {
        command,
        size,
        stream: Some(Stream {
            lane,
            token: Arc::clone(&log.keys.of(lane).token),
        }),
    })
}

/// Returns the id before which entries may be cut off, by this machine's clock.
fn oldest(age: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
        .saturating_sub(age)
        .as_millis()
        .to_string()
}

/// What an entry turned out to be.
pub(crate) enum Message {
    Publication(Publication),
    /// It names a channel and has no data: its channel is told of a gap.
    Undecodable(Channel),
    /// Not a message: it names no channel. Somebody else's entry, or one that was deleted.
    Foreign,
}

/// Returns a value as text; `None` if it is not UTF-8.
fn string(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Reads an entry. The first field of each of our names is ours, and all others are tags: a tag may
/// be called `c`.
pub(crate) fn decode(entry: Entry, position: Position) -> Message {
    let (mut channel, mut data, mut id, mut origin) = (None, None, None, None);
    let mut tags = BoundedTags::default();
    let mut fields = entry.fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match string(&name) {
            Some("c") if channel.is_none() => channel = Some(string(&value).map(Channel::from)),
            Some("d") if data.is_none() => {
                if let Value::BulkString(bytes) = value {
                    data = Some(Bytes::from(bytes));
                }
            }
            Some("i") if id.is_none() => id = Some(string(&value).unwrap_or_default().into()),
            Some("o") if origin.is_none() => {
                origin = Some(string(&value).and_then(|text| text.parse().ok()));
            }
            // Tags are bounded, since an outside program may have written any number of fields.
            Some(name) => {
                if let Some(value) = string(&value) {
                    tags.push(name, value);
                }
            }
            None => {}
        }
    }
    // A message needs both; all else about it may be missing.
    match (channel.flatten(), data) {
        (Some(channel), Some(data)) => Message::Publication(Publication {
            channel,
            data,
            position: Some(position),
            id: id.filter(|id: &Arc<str>| !id.is_empty()),
            origin: origin.flatten(),
            tags: tags.into_tags(),
        }),
        (Some(channel), None) => Message::Undecodable(channel),
        (None, _) => Message::Foreign,
    }
}
