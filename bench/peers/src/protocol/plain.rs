//! Plain broadcast as in `plain.ts`: `+CHANNEL` subscribes, `CHANNEL DATA` publishes, messages are the data alone.

use super::{Protocol, Request, Said};

pub(super) struct Plain;

impl Protocol for Plain {
    fn path(&self) -> &'static str {
        "/"
    }

    fn subscribe(&self, channel: &str, _greeting: &str) -> String {
        format!("+{channel}")
    }

    fn publish(&self, channel: &str, data: &str, _number: u64) -> String {
        format!("{channel} {data}")
    }

    fn request(&self, channel: &str, data: &str) -> Request {
        Request {
            path: "/publish".to_owned(),
            body: format!("{channel} {data}"),
            ..Request::default()
        }
    }

    fn read(&self, text: &str) -> Said {
        // The confirmation repeats the command.
        if text.starts_with('+') {
            Said::Subscribed
        } else {
            Said::Nothing
        }
    }

    fn before_data(&self) -> &'static [u8] {
        // A message is its data, without anything around it.
        b""
    }
}
