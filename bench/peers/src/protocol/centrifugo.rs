//! Centrifugo's bidirectional protocol in JSON: <https://centrifugal.dev/docs/transports/client_protocol>, and its HTTP API:
//! <https://centrifugal.dev/docs/server/server_api>.

use super::{Protocol, Request, Said};

pub(super) struct Centrifugo;

/// As in `up`.
const KEY: &str = "peers";

impl Protocol for Centrifugo {
    fn path(&self) -> &'static str {
        "/connection/websocket"
    }

    // Must be the first command on a connection.
    fn hello(&self) -> Option<&'static str> {
        Some(r#"{"id":1,"connect":{}}"#)
    }

    fn greets(&self) -> bool {
        true
    }

    // Commands are told apart by their ids; 1 and 2 are used once on each socket.
    fn subscribe(&self, channel: &str, _greeting: &str) -> String {
        format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#)
    }

    fn publish(&self, channel: &str, data: &str, number: u64) -> String {
        // Ids below are taken.
        let id = number + 3;
        format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"{data}"}}}}"#)
    }

    fn request(&self, channel: &str, data: &str) -> Request {
        // The header is Centrifugo's own.
        Request {
            path: "/api/publish".to_owned(),
            headers: format!("x-api-key: {KEY}\r\n"),
            body: format!(r#"{{"channel":"{channel}","data":"{data}"}}"#),
        }
    }

    fn read(&self, text: &str) -> Said {
        // An empty object is its ping, and the same object the answer.
        if text == "{}" {
            return Said::Ping("{}");
        }
        // By what they contain: the order of the keys is not promised.
        match text {
            _ if text.contains(r#""error":"#) => Said::Refused,
            _ if text.contains(r#""connect":"#) => Said::Greeting,
            _ if text.contains(r#""subscribe":"#) => Said::Subscribed,
            _ if text.contains(r#""publish":"#) => Said::Published,
            _ => Said::Nothing,
        }
    }
}
