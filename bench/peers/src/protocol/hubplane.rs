//! hubplane's native protocol: docs/protocol.md.

use super::{Protocol, Request, Said};

pub(super) struct Hubplane;

impl Protocol for Hubplane {
    fn path(&self) -> &'static str {
        "/ws"
    }

    fn subscribe(&self, channel: &str, _greeting: &str) -> String {
        format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#)
    }

    fn publish(&self, channel: &str, data: &str, number: u64) -> String {
        format!(r#"{{"type":"publish","ref":{number},"channel":"{channel}","data":"{data}"}}"#)
    }

    fn request(&self, channel: &str, data: &str) -> Request {
        // No key: the hubs under test have none.
        Request {
            path: "/v1/publish".to_owned(),
            body: format!(r#"{{"channel":"{channel}","data":"{data}"}}"#),
            ..Request::default()
        }
    }

    fn read(&self, text: &str) -> Said {
        // The type is always the first key.
        let kind = text.strip_prefix(r#"{"type":""#).unwrap_or_default();
        match kind.split('"').next() {
            Some("subscribed") => Said::Subscribed,
            Some("published") => Said::Published,
            Some("error") => Said::Refused,
            _ => Said::Nothing,
        }
    }
}
