//! The frames that a client reads, as `docs/protocol.md` describes them.
//!
//! What a client sends is written where it is sent (`publishes`, `subscriptions`).

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Member;

/// Bytes that the names of the fields and a `ref` of any length take in a publish.
const FIELDS: usize = 100;

/// Any frame of the hub. One flat type for all: the hub may add kinds and fields, and a client must skip what it does not
/// know. So each field but the type may be missing, and unknown ones are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Incoming {
    #[serde(rename = "type")]
    pub(super) kind: Box<str>,
    #[serde(default, rename = "ref")]
    pub(super) reference: Option<u64>,
    #[serde(default)]
    pub(super) channel: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) position: Option<Box<str>>,
    #[serde(default)]
    pub(super) id: Option<Box<str>>,
    #[serde(default)]
    pub(super) recovered: bool,
    #[serde(default)]
    pub(super) cause: Option<Box<str>>,
    #[serde(default)]
    pub(super) code: Option<Box<str>>,
    #[serde(default)]
    pub(super) message: Option<Box<str>>,
    #[serde(default)]
    pub(super) client: Option<Box<str>>,
    #[serde(default)]
    pub(super) user: Option<Box<str>>,
    #[serde(default)]
    pub(super) info: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) members: Option<Vec<Member>>,
    #[serde(default)]
    pub(super) count: u64,
    #[serde(default)]
    pub(super) more: bool,
}

/// Reads a field that is there, `null` included: a message whose data is `null` has data.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Returns how many bytes a publish has on the wire at most, if neither channel nor id needs escapes. So a client can
/// refuse a publish that the hub would punish by ending the connection.
pub(super) fn publish_bytes(channel: &str, data: &str, id: &str) -> usize {
    FIELDS + channel.len() + data.len() + id.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_as_it_was_sent_and_null_is_data() {
        let read = |text: &str| serde_json::from_str::<Incoming>(text).unwrap();
        let message = read(r#"{"type":"message","channel":"c","data":{"b": 1.0,"a":2},"id":"x"}"#);
        assert_eq!(message.data.unwrap().get(), r#"{"b": 1.0,"a":2}"#);
        let message = read(r#"{"type":"message","channel":"c","data":null,"position":null}"#);
        assert_eq!(message.data.unwrap().get(), "null");
        assert!(read(r#"{"type":"pong"}"#).data.is_none());
    }
}
