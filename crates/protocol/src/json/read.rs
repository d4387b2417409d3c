//! Reading what a client of the native protocol sends: one command in each text message. Unknown
//! fields are ignored, so that newer clients can talk to older hubs.
//!
//! A message that is not of this protocol ends the session; one with a wrong field is answered with
//! an error. What a command does, and who may send it, is not known here.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Json, presence};
use crate::{Close, Decoder, Incoming, Input, Object};
use hubplane_hub::{
    BadMaxRate, ClientPosition, MAX_ID, MaxRate,
    command::{Command, Ref, Secret, Which},
    is_id,
};

/// Deepest nesting of the data of a message.
pub const MAX_DEPTH: usize = 128;
/// The longest `ref`, in bytes of JSON. The quotes around a text do not count.
pub const MAX_REF: usize = 64;
/// The longest `token`, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
/// The close code for what is no message of this protocol.
const NOT_OF_THIS_PROTOCOL: u16 = 3501;

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
    token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    presence: Option<Object<presence::Presence<'a>>>,
    #[serde(borrow, default)]
    max_rate: Option<&'a RawValue>,
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
pub(super) struct Stateless;

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

/// Reads a rate from any JSON, so that what is no number gets the same answer as one that is too
/// large.
fn max_rate(json: &RawValue) -> Result<MaxRate, BadMaxRate> {
    MaxRate::new(json.get().parse().or(Err(BadMaxRate))?)
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
            let max_rate = incoming.max_rate.map(max_rate).transpose();
            let max_rate =
                max_rate.map_err(|error| refused(reference.clone(), error.to_string()))?;
            Ok(Command::Subscribe {
                channel: channel()?,
                tag: None,
                since,
                presence,
                max_rate,
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
        "auth" => {
            let token = incoming.token.ok_or_else(|| missing("token"))?;
            if token.len() > MAX_TOKEN {
                let message = format!("token has at most {MAX_TOKEN} bytes");
                return Err(refused(reference, message));
            }
            Ok(Command::Authenticate {
                proof: Secret::new(&*token),
                reference,
            })
        }
        "ping" => Ok(Command::Ping),
        _ => {
            let known = "type is one of auth, subscribe, unsubscribe, publish, presence, ping";
            Err(refused(reference, known.to_owned()))
        }
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
