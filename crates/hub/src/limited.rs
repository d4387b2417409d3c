//! What somebody is told who asks too often or for too much: which setting is reached, and after
//! how long to try again. What is reached is counted under the setting's name.

use std::{fmt, time::Duration};

/// The settings whose refusals are counted one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Connections of one address.
    AddressConnections,
    /// New connections of one address a second.
    AddressHandshakes,
    /// Sessions of one user.
    UserConnections,
    /// Subscribes of one session a second.
    SessionSubscribes,
    /// Publishes of one session a second.
    SessionPublishes,
    /// Requests of one key, user or address a second.
    KeyRequests,
    /// A rule's rate of publishes.
    PublishRate,
    /// A rule's size of a message.
    MessageBytes,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::AddressConnections,
        Self::AddressHandshakes,
        Self::UserConnections,
        Self::SessionSubscribes,
        Self::SessionPublishes,
        Self::KeyRequests,
        Self::PublishRate,
        Self::MessageBytes,
    ];

    /// Returns the setting's name, as it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddressConnections => "address_connections",
            Self::AddressHandshakes => "address_handshakes_per_second",
            Self::UserConnections => "user_connections",
            Self::SessionSubscribes => "session_subscribes_per_second",
            Self::SessionPublishes => "session_publishes_per_second",
            Self::KeyRequests => "key_requests_per_second",
            Self::PublishRate => "publish_rate",
            Self::MessageBytes => "message_bytes",
        }
    }
}

/// A setting that is reached. Its text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which it is.
    pub limit: Limit,
    /// After how long to try again; the answer may be the same then.
    pub after: Duration,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded up: who comes back at that moment is let through.
        let millis = self.after.as_micros().div_ceil(1_000);
        let name = self.limit.as_str();
        write!(f, "the limit {name} is reached; try again in {millis} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_and_the_time_are_named() {
        let limited = Limited {
            limit: Limit::PublishRate,
            after: Duration::from_micros(10_001),
        };
        assert_eq!(
            limited.to_string(),
            "the limit publish_rate is reached; try again in 11 ms"
        );
    }
}
