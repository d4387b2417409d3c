//! The native protocol, subprotocol `hubplane.v1.json`: one JSON object in each text message.
//! `docs/protocol.md` says what clients may rely on; a change here that they could notice belongs
//! there too. What a command does is not known here.

mod presence;

use std::{borrow::Cow, io::Write};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use self::presence::members;
use super::{Close, Decoder, Format, Incoming, Input, Object};
use hubplane_hub::{
    ClientPosition, MAX_ID, Message,
    command::{Command, Ending, Push, Ref, Reply, Which},
    is_id,
    presence::Roster,
};

/// Deepest nesting of the data of a message.
pub const MAX_DEPTH: usize = 128;
/// The longest `ref`, in bytes of JSON. The quotes around a text do not count.
pub const MAX_REF: usize = 64;
/// The close code for what is no message of this protocol.
const NOT_OF_THIS_PROTOCOL: u16 = 3501;

/// The native protocol. It has no state.
#[derive(Clone, Copy, Debug)]
pub struct Json;

/// The one value of [`Json`].
pub static JSON: Json = Json;

/// Any command, before it is known which: each field may be missing. Unknown fields are ignored.
#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    since: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    presence: Option<Object<presence::Presence<'a>>>,
}

/// Reads a field whose value may be `null`, which is data too: `None` means that the field is not
/// there.
pub fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// What a client sent can't be carried out. It is answered with the error `malformed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message's `ref`, to answer with, if it could be read.
    pub reference: Option<Ref>,
    /// A sentence for people: what is wrong.
    pub message: String,
    /// The client doesn't speak the protocol, so the session ends.
    pub fatal: bool,
}

/// Reads one session's messages, and remembers nothing between two of them.
#[derive(Clone, Copy, Debug)]
struct Stateless;

impl Decoder for Stateless {
    fn decode(&mut self, incoming: Incoming<'_>, on: &mut dyn FnMut(Input)) {
        let Incoming::Text(text) = incoming else {
            return on(Input::End(Close::new(1003, "messages are text")));
        };
        match Json::decode(text) {
            Ok(command) => on(Input::Command(command)),
            Err(Refused {
                reference,
                message,
                fatal,
            }) => {
                let close = fatal.then(|| Close::new(NOT_OF_THIS_PROTOCOL, message.clone()));
                on(Input::Refused { reference, message });
                if let Some(close) = close {
                    on(Input::End(close));
                }
            }
        }
    }
}

impl Json {
    /// Reads what a client sent: one command.
    ///
    /// # Errors
    /// It is no message of this protocol (`fatal`), or a field is missing or not allowed.
    pub fn decode(text: &str) -> Result<Command, Refused> {
        if text.is_empty() {
            return Err(refused(None, "the message is empty".to_owned()));
        }
        // The data is one level deep in the message.
        if depth(text.as_bytes()) > MAX_DEPTH + 1 {
            return Err(fatal(format!("data nests deeper than {MAX_DEPTH}")));
        }
        let Object(incoming): Object<Incomplete<'_>> = serde_json::from_str(text)
            .map_err(|error| fatal(format!("not a message of this protocol: {error}")))?;
        let reference: Option<Ref> = match incoming.reference.map(RawValue::get) {
            Some(text)
                if text.len() > MAX_REF + 2 * usize::from(text.starts_with('"'))
                    || text.starts_with(['{', '[']) =>
            {
                return Err(refused(
                    None,
                    format!("ref is a number or a text of at most {MAX_REF} bytes"),
                ));
            }
            reference => reference.map(Into::into),
        };
        command(incoming, reference)
    }
}

impl Format for Json {
    fn subprotocol(&self) -> &'static str {
        "hubplane.v1.json"
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Stateless)
    }

    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        match *reply {
            Reply::Subscribed {
                reference,
                channel,
                position,
                recovered,
                ..
            } => {
                start(out, "subscribed", reference);
                text(out, "channel", channel);
                position_or_null(out, position);
                end(out, format_args!(",\"recovered\":{recovered}"));
            }
            Reply::Unsubscribed {
                reference, channel, ..
            } => {
                start(out, "unsubscribed", reference);
                text(out, "channel", channel);
                out.push(b'}');
            }
            Reply::Published {
                reference,
                position,
            } => {
                start(out, "published", reference);
                position_or_null(out, position);
                out.push(b'}');
            }
            Reply::Members { reference, channel } => {
                start(out, "presence", reference);
                text(out, "channel", channel);
            }
            Reply::Authenticated { reference, .. } => {
                start(out, "authenticated", reference);
                out.push(b'}');
            }
            Reply::Error {
                reference,
                code,
                message,
            } => {
                start(out, "error", reference);
                text(out, "code", code.as_str());
                text(out, "message", message);
                out.push(b'}');
            }
            Reply::Pong => out.extend_from_slice(b"{\"type\":\"pong\"}"),
        }
    }

    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        match push {
            Push::Message(publication) => message(publication, out),
            Push::Gap { channel, cause } => {
                start(out, "gap", None);
                text(out, "channel", channel);
                text(out, "cause", cause.as_str());
                out.push(b'}');
            }
            Push::Presence(change) => presence::change(change, out),
        }
    }

    fn members(&self, _channel: &str, roster: &Roster, out: &mut Vec<u8>) {
        presence::rest(roster, out);
    }

    fn ending(&self, ending: Ending, _out: &mut Vec<u8>) -> Close {
        match ending {
            Ending::Slow => Close::new(
                1013,
                "too slow: messages were dropped; connect again and resume",
            ),
            Ending::NoPong => Close::new(3012, "no answer to a ping"),
            Ending::Expired => Close::new(3013, "what this session may do is over; connect again"),
            Ending::Restart => Close::new(1012, "this instance stops; connect again"),
            Ending::Failed => Close::new(1011, "the server failed"),
        }
    }
}

/// Makes the command that `type` names. The hub checks channels' names.
fn command(incoming: Incomplete<'_>, reference: Option<Ref>) -> Result<Command, Refused> {
    let missing = |what: &str| refused(reference.clone(), format!("{what} is missing"));
    let channel = || {
        incoming
            .channel
            .as_deref()
            .map(Into::into)
            .ok_or_else(|| missing("channel"))
    };
    match &*incoming.kind {
        "subscribe" => {
            let since = incoming
                .since
                .map(|text| text.parse::<ClientPosition>())
                .transpose();
            let since =
                since.map_err(|error| refused(reference.clone(), format!("since: {error}")))?;
            let read = |Object(it): Object<presence::Presence<'_>>| {
                it.read().ok_or_else(|| missing("presence.client"))
            };
            let presence = incoming.presence.map(read).transpose()?;
            Ok(Command::Subscribe {
                channel: channel()?,
                tag: None,
                since,
                presence,
                reference,
            })
        }
        "unsubscribe" => Ok(Command::Unsubscribe {
            which: Which::Channel(channel()?),
            reference,
        }),
        "publish" => {
            let id = match incoming.id {
                Some(id) if !is_id(&id) => return Err(refused(reference, bad_id())),
                id => id.map(|id| id.as_ref().into()),
            };
            let data = incoming.data.ok_or_else(|| missing("data"))?;
            let data = Bytes::copy_from_slice(data.get().as_bytes());
            Ok(Command::Publish {
                channel: channel()?,
                data,
                id,
                not_to_me: false,
                reference,
            })
        }
        "presence" => Ok(Command::Members {
            channel: channel()?,
            reference,
        }),
        "ping" => Ok(Command::Ping),
        _ => {
            let known = "type is one of subscribe, unsubscribe, publish, presence, ping";
            Err(refused(reference, known.to_owned()))
        }
    }
}

/// Writes a message's push. All of its fields are always there.
fn message(message: &Message, out: &mut Vec<u8>) {
    out.reserve(message.data.len() + message.channel.len() + 128);
    start(out, "message", None);
    text(out, "channel", &message.channel);
    out.extend_from_slice(b",\"data\":");
    data(&message.data, out);
    position_or_null(out, message.position);
    match &message.id {
        Some(id) => text(out, "id", id),
        None => out.extend_from_slice(b",\"id\":null"),
    }
    out.push(b'}');
}

/// Writes a message's data as JSON: JSON as it was published, other text as a string, other bytes
/// as `{"base64":"…"}`.
pub fn data(data: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(data) {
        Ok(text) => match serde_json::from_str::<&RawValue>(text) {
            // Without the white space around it, but with that inside.
            Ok(raw) => out.extend_from_slice(raw.get().as_bytes()),
            Err(_) => string(out, text),
        },
        Err(_) => end(
            out,
            format_args!("{{\"base64\":\"{}\"", Base64Display::new(data, &STANDARD)),
        ),
    }
}

/// Returns the sentence about an id that is not allowed.
pub fn bad_id() -> String {
    format!("id is 1 to {MAX_ID} bytes of printable ASCII without spaces")
}

fn fatal(message: String) -> Refused {
    Refused {
        reference: None,
        message,
        fatal: true,
    }
}

fn refused(reference: Option<Ref>, message: String) -> Refused {
    Refused {
        reference,
        message,
        fatal: false,
    }
}

/// Returns how deep arrays and objects nest, at most.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn start(out: &mut Vec<u8>, kind: &str, reference: Option<&str>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    if let Some(reference) = reference {
        out.extend_from_slice(b",\"ref\":");
        out.extend_from_slice(reference.as_bytes());
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, value);
}

fn string(out: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(out, value).expect("invariant: text is always JSON, and a Vec takes it");
}

fn position_or_null(out: &mut Vec<u8>, position: Option<ClientPosition>) {
    match position {
        Some(position) => {
            out.extend_from_slice(b",\"position\":\"");
            out.extend_from_slice(position.text().as_str().as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b",\"position\":null"),
    }
}

fn end(out: &mut Vec<u8>, last: std::fmt::Arguments<'_>) {
    put(out, last);
    out.push(b'}');
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("invariant: a Vec takes everything");
}

#[cfg(test)]
mod tests;
