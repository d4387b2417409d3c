//! The native protocol, subprotocol `hubplane.v1.json`: one JSON object in each text message.
//! `docs/protocol.md` says what clients may rely on; a change here that they could notice belongs
//! there too. What a command does is not known here.

mod presence;
mod read;

use std::{io::Write, time::Instant};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

pub use self::{
    presence::members,
    read::{MAX_DEPTH, MAX_REF, MAX_TOKEN, Refused, bad_id, depth, present},
};
use super::{Close, Decoder, Format};
use hubplane_hub::{
    ClientPosition, Message,
    command::{Ending, Push, Reply},
    presence::Roster,
};

/// The native protocol. It has no state.
#[derive(Clone, Copy, Debug)]
pub struct Json;

/// The one value of [`Json`].
pub static JSON: Json = Json;

impl Format for Json {
    fn subprotocol(&self) -> &'static str {
        "hubplane.v1.json"
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(read::Stateless)
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
            Reply::Authenticated { reference, grant } => {
                start(out, "authenticated", reference);
                if let Some(name) = &grant.name {
                    text(out, "user", name);
                }
                if let Some(left) = grant.left(Instant::now()) {
                    put(out, format_args!(",\"expires_in\":{}", left.as_secs()));
                }
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
            Reply::Expiring(seconds) => {
                start(out, "expiring", None);
                end(out, format_args!(",\"expires_in\":{seconds}"));
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
            Ending::Disconnected(reason) => Close::new(3500, reason.to_string()),
            Ending::Restart => Close::new(1012, "this instance stops; connect again"),
            Ending::Failed => Close::new(1011, "the server failed"),
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
