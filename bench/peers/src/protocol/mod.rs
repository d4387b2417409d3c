//! What each server's clients and publishers say, as far as the scenarios need it.

mod centrifugo;
mod hubplane;
mod plain;
mod pusher;

use serde::Deserialize;

use self::{centrifugo::Centrifugo, hubplane::Hubplane, plain::Plain, pusher::Pusher};

/// A server's protocol. Texts are WebSocket messages.
pub(crate) trait Protocol {
    /// The WebSocket's path.
    fn path(&self) -> &'static str;
    /// What a client says first; `None` where the server does.
    fn hello(&self) -> Option<&'static str> {
        None
    }
    /// Whether the server says something before subscriptions may begin.
    fn greets(&self) -> bool {
        false
    }
    /// The name that a scenario's channel has here.
    fn channel(&self, scenario: &str, index: usize) -> String {
        format!("{scenario}.{index}")
    }
    /// Subscribes, after this greeting.
    fn subscribe(&self, channel: &str, greeting: &str) -> String;
    /// Publishes by a client's own socket.
    fn publish(&self, channel: &str, data: &str, number: u64) -> String;
    /// Publishes by HTTP: path, headers, body.
    fn request(&self, channel: &str, data: &str) -> Request;
    /// Whether who publishes by his socket gets the message, too.
    fn echoes(&self) -> bool {
        true
    }
    /// What a text that holds no message says.
    fn read(&self, text: &str) -> Said;
    /// What stands right before a message's data; empty where that is the whole text.
    fn before_data(&self) -> &'static [u8] {
        b"\"data\":\""
    }
}

/// An HTTP request to publish.
/// The length and the other usual headers are added where it is sent.
#[derive(Debug, Default)]
/// With the query.
pub(crate) struct Request {
    /// Lines with their ends.
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Greeting,
    Subscribed,
    Published,
    /// To be answered with this.
    Ping(&'static str),
    Refused,
    /// Anything that needs no answer and no counting.
    Nothing,
}

/// Names a protocol in a target's file.
/// The names are those in the files that `up` writes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    Hubplane,
    Centrifugo,
    Pusher,
    Plain,
}

impl Name {
    /// Static, so that all tasks share it without counting.
    pub(crate) fn protocol(self) -> &'static dyn Protocol {
        match self {
            Self::Hubplane => &Hubplane,
            Self::Centrifugo => &Centrifugo,
            Self::Pusher => &Pusher,
            Self::Plain => &Plain,
        }
    }
}
