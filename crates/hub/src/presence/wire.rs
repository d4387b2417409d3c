//! What instances tell each other of their members, as JSON: docs/protocol.md has the form.
//! Whatever comes from the broker is untrusted, so each text is checked like a client's, and sizes
//! are limited.

use std::sync::Arc;

use bytes::Bytes;
use hubplane_backplane::Channel;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::member::Member;

/// The most bytes of one message.
pub(super) const MOST_BYTES: usize = 32 * 1024;
/// Bytes of a message for its changes; the rest is for what is around them.
const ROOM: usize = MOST_BYTES - 512;
/// Bytes for the names, quotes and commas of one change.
const FIELDS: usize = 80;
/// The most parts of one snapshot.
const MOST_PARTS: u32 = 65_536;
/// The version that is written and read. Messages of others are not understood.
const VERSION: u32 = 1;

/// The message as it travels. It is flat, because serde can't read raw JSON inside a tagged enum.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Message {
    v: u32,
    /// The sender: its origin in hexadecimal.
    from: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ops: Vec<Op>,
}

/// What a message says, once it is understood.
#[derive(Debug)]
pub(super) enum What {
    /// The sender's table has changed, for the `n`th time. `whole` is set if it was empty before.
    Diff { n: u64, whole: bool, ops: Vec<Op> },
    /// The sender lives; its table has changed `n` times and has so many members.
    Beat { n: u64, members: usize },
    /// Asks the named instance, or all of them, to send its table.
    Ask { to: Option<String> },
    /// A part of the sender's table as it was after change `n`.
    Snapshot {
        n: u64,
        part: u32,
        of: u32,
        ops: Vec<Op>,
    },
    /// The sender says goodbye: it stops.
    Bye,
}

impl Message {
    /// Lays a message out as it travels.
    fn new(what: What) -> Self {
        let mut message = Self::default();
        let kind = match what {
            What::Diff { n, whole, ops } => {
                (message.n, message.whole, message.ops) = (Some(n), whole, ops);
                "diff"
            }
            What::Beat { n, members } => {
                (message.n, message.members) = (Some(n), Some(members));
                "beat"
            }
            What::Ask { to } => {
                message.to = to;
                "ask"
            }
            What::Snapshot { n, part, of, ops } => {
                (message.n, message.part, message.of) = (Some(n), Some(part), Some(of));
                message.ops = ops;
                "snapshot"
            }
            What::Bye => "bye",
        };
        message.kind = kind.to_owned();
        message
    }

    /// Reads the fields that the type needs. `None` if one is missing, or the type is unknown.
    fn what(self) -> Option<What> {
        // Checked one by one when they are read, see [`Op::read`].
        let ops = self.ops;
        Some(match &*self.kind {
            "diff" => What::Diff {
                n: self.n?,
                whole: self.whole,
                ops,
            },
            "beat" => What::Beat {
                n: self.n?,
                members: self.members?,
            },
            "ask" => What::Ask { to: self.to },
            "snapshot" => {
                // A sender may claim any number of parts; each costs memory here.
                let (part, of) = (self.part?, self.of?);
                if part >= of || of > MOST_PARTS {
                    return None;
                }
                What::Snapshot {
                    n: self.n?,
                    part,
                    of,
                    ops,
                }
            }
            "bye" => What::Bye,
            _ => return None,
        })
    }
}

/// One member on one channel, there or gone.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Op {
    /// The channel. The names are short, since a table has many of these.
    c: Channel,
    /// The client's name for itself.
    id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    verified: bool,
    /// True if the member has left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

impl Op {
    /// A member that is there.
    pub(super) fn there(channel: &Channel, member: &Member) -> Self {
        let info = member.info.as_deref();
        Self {
            c: Channel::clone(channel),
            id: Arc::clone(&member.client),
            user: member.user.clone(),
            // Checked when the member came.
            info: info.and_then(|info| RawValue::from_string(info.to_owned()).ok()),
            verified: member.verified,
            gone: false,
        }
    }

    /// A member that has left.
    pub(super) fn gone(channel: &Channel, client: &Arc<str>) -> Self {
        Self {
            c: Channel::clone(channel),
            id: Arc::clone(client),
            user: None,
            info: None,
            verified: false,
            gone: true,
        }
    }

    /// Returns an upper bound of its bytes as JSON. Nothing is written for that, since it runs
    /// under the lock.
    fn most_bytes(&self) -> usize {
        // The info is JSON already, so it is not escaped.
        let texts = [Some(&*self.c), Some(&*self.id), self.user.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(escaped).sum();
        let info = self.info.as_ref().map_or(0, |info| info.get().len());
        FIELDS + texts + info
    }

    /// Returns the channel, the member, and whether it is there; `None` if a limit is broken.
    pub(super) fn read(self) -> Option<(Channel, Member, bool)> {
        let member = Member {
            client: self.id,
            user: self.user,
            info: self.info.map(|info| info.get().into()),
            verified: self.verified,
        };
        let good = crate::channel::check(&self.c).is_ok() && member.check().is_ok();
        good.then_some((self.c, member, !self.gone))
    }
}

/// Returns the most bytes that a text takes inside JSON.
fn escaped(text: &str) -> usize {
    let size = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(size).sum()
}

/// Packs all of these into messages of at most [`MOST_BYTES`]. Returns no message if there are none.
pub(super) fn packed(ops: impl Iterator<Item = Op>) -> Vec<Vec<Op>> {
    let (mut all, mut now, mut bytes) = (Vec::new(), Vec::new(), 0);
    for op in ops {
        let size = op.most_bytes();
        // One change always fits, since its parts are limited.
        if bytes + size > ROOM && !now.is_empty() {
            all.push(std::mem::take(&mut now));
            bytes = 0;
        }
        bytes += size;
        now.push(op);
    }
    if !now.is_empty() {
        all.push(now);
    }
    all
}

/// Writes a message of the instance `from`.
pub(super) fn encode(from: u128, what: What) -> Bytes {
    let message = Message {
        v: VERSION,
        from: id(from),
        ..Message::new(what)
    };
    serde_json::to_vec(&message)
        .expect("invariant: numbers and text are always JSON")
        .into()
}

/// Returns the sender and the message; `None` if the bytes are no such message.
pub(super) fn decode(data: &[u8]) -> Option<(u128, What)> {
    // Refused before it is parsed.
    if data.len() > MOST_BYTES {
        return None;
    }
    let message: Message = serde_json::from_slice(data).ok()?;
    let from = u128::from_str_radix(&message.from, 16).ok()?;
    // A later version may mean something else by the same fields.
    let known = message.v == VERSION;
    known
        .then(|| message.what())
        .flatten()
        .map(|what| (from, what))
}

/// Returns an instance's name in messages: its origin in hexadecimal.
pub(super) fn id(origin: u128) -> String {
    format!("{origin:x}")
}
