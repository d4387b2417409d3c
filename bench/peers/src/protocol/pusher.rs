//! The Pusher protocol, version 7: <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/>, and its
//! HTTP API: <https://pusher.com/docs/channels/library_auth_reference/rest-api/>.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::{Protocol, Request, Said};

pub(super) struct Pusher;

/// As in `up`.
/// Not secrets: the server is started by the same script for the length of a run.
const APP: &str = "peers";
const KEY: &str = "key";
const SECRET: &str = "secret";

impl Protocol for Pusher {
    fn path(&self) -> &'static str {
        "/app/key?protocol=7&client=peers&version=1"
    }

    fn greets(&self) -> bool {
        true
    }

    /// Only on private channels may clients publish.
    fn channel(&self, scenario: &str, index: usize) -> String {
        format!("private-{scenario}.{index}")
    }

    fn subscribe(&self, channel: &str, greeting: &str) -> String {
        // A private channel must be signed for this very socket (the protocol's description,
        // "private channels").
        let socket = socket_id(greeting);
        let signature = sign(&format!("{socket}:{channel}"));
        format!(
            r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}","auth":"{KEY}:{signature}"}}}}"#
        )
    }

    fn publish(&self, channel: &str, data: &str, _number: u64) -> String {
        format!(r#"{{"event":"client-m","channel":"{channel}","data":"{data}"}}"#)
    }

    fn request(&self, channel: &str, data: &str) -> Request {
        let body = format!(r#"{{"name":"m","channel":"{channel}","data":"{data}"}}"#);
        let path = format!("/apps/{APP}/events");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        // In alphabetical order, as the signature is over exactly this text (REST API,
        // "authentication").
        let query = format!(
            "auth_key={KEY}&auth_timestamp={}&auth_version=1.0&body_md5={}",
            now.unwrap_or_default().as_secs(),
            hex(&Md5::digest(&body))
        );
        // Method, path and query, a line each.
        let signature = sign(&format!("POST\n{path}\n{query}"));
        Request {
            path: format!("{path}?{query}&auth_signature={signature}"),
            body,
            ..Request::default()
        }
    }

    // Client events go to all but their publisher.
    fn echoes(&self) -> bool {
        false
    }

    fn read(&self, text: &str) -> Said {
        match text {
            _ if text.contains("pusher:connection_established") => Said::Greeting,
            _ if text.contains("pusher_internal:subscription_succeeded") => Said::Subscribed,
            _ if text.contains("pusher:error") || text.contains("subscription_error") => {
                Said::Refused
            }
            // Version 7 pings in messages of its own.
            _ if text.contains("pusher:ping") => Said::Ping(r#"{"event":"pusher:pong","data":{}}"#),
            _ => Said::Nothing,
        }
    }
}

/// Out of `"data":"{\"socket_id\":\"1.2\",…}"`.
/// Without a parser: the data is JSON inside a JSON text.
fn socket_id(greeting: &str) -> &str {
    let after = greeting.split("socket_id").nth(1).unwrap_or_default();
    let id = |sign: char| sign.is_ascii_digit() || sign == '.';
    let begin = after.find(id).unwrap_or(after.len());
    let rest = &after[begin..];
    &rest[..rest.find(|sign| !id(sign)).unwrap_or(rest.len())]
}

/// HMAC-SHA256 in hexadecimal, as all signatures of the protocol are.
fn sign(text: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("invariant: any key will do");
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// In small letters, which the server compares exactly.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_in_the_greeting() {
        let greeting = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#;
        assert_eq!(socket_id(greeting), "12.34");
        // A greeting without one gives an empty name, and the server then refuses.
        assert_eq!(socket_id("{}"), "");
    }

    /// The example in the protocol's own description of private channels.
    #[test]
    fn signatures_are_those_of_the_description() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"7ad3773142a6692b25b8").unwrap();
        mac.update(b"1234.1234:private-foobar");
        assert_eq!(
            hex(&mac.finalize().into_bytes()),
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
    }
}
