//! Every limit of a hub and its server, with its default, in one place. The names are those of the
//! configuration file, so they are an interface: docs/operations.md lists them.

mod check;
mod memory;

use std::{fmt, sync::LazyLock, time::Duration};

use hubplane_backplane::parse_duration;
use serde::{Deserialize, Deserializer, de};

/// What one hub and its server allow, with the defaults. Sizes are in bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// WebSockets and HTTP connections at the same time. Further ones are closed at once.
    pub connections: usize,
    /// Connections of one address, or of one /64 of IPv6, at the same time; further ones are answered 429.
    pub address_connections: usize,
    /// New connections of one address a second, before TLS and HTTP; five times as many may come at once.
    pub address_handshakes_per_second: usize,
    /// Sessions of one user on this instance.
    pub user_connections: usize,
    /// HTTP requests of one named key, user or anonymous address a second that publish or read a channel.
    pub key_requests_per_second: usize,
    /// Of these, so many may come at once.
    pub key_requests_burst: usize,
    /// A client's message, and one publication's data.
    pub message_bytes: usize,
    /// Fragments of one client message.
    pub fragments: usize,
    /// Sustained inbound rate of one socket, a second; each frame counts 64 bytes more than it has. A socket that sends
    /// faster is not read until it may send again.
    pub inbound_bytes_per_second: usize,
    /// Bytes that may come at once above that rate.
    pub inbound_burst: usize,
    /// As [`Self::inbound_bytes_per_second`], for a session that showed the hub's key.
    pub inbound_key_bytes_per_second: usize,
    /// As [`Self::inbound_burst`], for a session that showed the hub's key.
    pub inbound_key_burst: usize,
    /// Pings, pongs and empty messages of one socket that may come at once, and again every 16 seconds; with more it is
    /// closed (1008).
    pub empty_frames: usize,
    /// Bytes of unfinished messages and request bodies of all clients together; more are refused. By default never more
    /// than a quarter of the memory that this process may use.
    pub unfinished_bytes: usize,
    /// Channels that one session may be subscribed to.
    pub subscriptions: usize,
    /// Publications of one session that wait for the broker; more are not read from the socket.
    pub session_publishes: usize,
    /// Subscribes of one session a second.
    pub session_subscribes_per_second: usize,
    /// Subscribes that may come at once above that rate.
    pub session_subscribes_burst: usize,
    /// Publishes of one session a second, unless it showed a key.
    pub session_publishes_per_second: usize,
    /// Publishes that may come at once above that rate.
    pub session_publishes_burst: usize,
    /// Bytes that wait for a slow client before it is cut off.
    pub outbox_bytes: usize,
    /// Frames that wait for a slow client before it is cut off.
    pub outbox_frames: usize,
    /// Bytes that wait for all slow clients together before the slowest are cut off. By default a quarter of the memory
    /// that this process may use.
    pub outboxes_bytes: usize,
    /// An HTTP request's body.
    pub body_bytes: usize,
    /// Messages of one HTTP publish.
    pub batch_messages: usize,
    /// Publications that wait for the broker on this instance.
    pub publish_messages: usize,
    /// Bytes of these publications.
    pub publish_bytes: usize,
    /// Channels that this instance publishes to within a minute, where the broker routes by channel and each has a count of
    /// its own: about 200 bytes each. A publish to one more is refused.
    pub publish_channels: usize,
    /// How long a publish may wait for the broker's acknowledgement.
    #[serde(deserialize_with = "duration")]
    pub publish_timeout: Duration,
    /// How long a client may take to send a request's headers. An idle HTTP connection is kept for
    /// this time, too.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// How long a client may take to send a request's body.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// How long the WebSocket handshake may take from the connection's start, and how long the
    /// closing handshake may take.
    #[serde(deserialize_with = "duration")]
    pub handshake_timeout: Duration,
    /// The time between two pings to a client.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping.
    #[serde(deserialize_with = "duration")]
    pub pong_timeout: Duration,
    /// How long a client may leave what is written to it unread.
    #[serde(deserialize_with = "duration")]
    pub write_timeout: Duration,
    /// How long what is written to a client may stay unacknowledged by its machine (`TCP_USER_TIMEOUT`).
    #[serde(deserialize_with = "duration")]
    pub user_timeout: Duration,
    /// How long this instance keeps its interest in a channel that nobody here is subscribed to any more.
    #[serde(deserialize_with = "duration")]
    pub interest_linger: Duration,
    /// Bytes of recent messages that are kept in memory for clients that come back; log backends only. By default never
    /// more than a quarter of the memory that this process may use.
    pub window_bytes: usize,
    /// How long recent messages are kept for them.
    #[serde(deserialize_with = "duration")]
    pub window_age: Duration,
    /// Channels whose messages were seen outside their own lane that are remembered, so that a client that comes back is
    /// told if it may have missed some; with more, every client that comes back is told.
    pub window_channels: usize,
    /// Messages that one subscription may be given of what it missed; with more it is told that it is not recovered.
    pub recovery_messages: usize,
    /// Bytes of their data; by default never more than a sixteenth of the memory that this process may use.
    pub recovery_bytes: usize,
    /// Bytes of data after which a page of history ends, with more to follow.
    pub history_bytes: usize,
    /// Pages of history that are read at once for HTTP; further requests are refused.
    pub history_requests: usize,
    /// How long a message id is remembered at least, unless half of [`Self::id_entries`] others come within that time.
    #[serde(deserialize_with = "duration")]
    pub id_memory: Duration,
    /// Message ids that are remembered at most, about 100 bytes each.
    pub id_entries: usize,
    /// Members of channels that this instance knows of, all instances' together.
    pub presence_members: usize,
    /// Channels that one session may be a member of, so that a few sessions can't fill the table of members.
    pub presence_session_members: usize,
    /// Members that one answer names.
    pub presence_page: usize,
    /// Questions for members that wait on this instance.
    pub presence_questions: usize,
    /// A member that comes back within this time has never left.
    #[serde(deserialize_with = "duration")]
    pub presence_grace: Duration,
    /// The time between two signs of life of an instance that has members.
    #[serde(deserialize_with = "duration")]
    pub presence_beat: Duration,
    /// An instance without a sign of life for this time counts as dead, and its members leave.
    #[serde(deserialize_with = "duration")]
    pub presence_dead: Duration,
    /// The time between two beacons.
    #[serde(deserialize_with = "duration")]
    pub beacon_interval: Duration,
    /// An instance whose own beacons have not come back for this time counts as deaf.
    #[serde(deserialize_with = "duration")]
    pub deaf_after: Duration,
}

/// A quarter of the memory that this process may use, or of 4 GiB where the system doesn't tell.
static QUARTER: LazyLock<usize> = LazyLock::new(|| memory::limit().unwrap_or(4 << 30) / 4);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            address_connections: 1_000,
            address_handshakes_per_second: 200,
            user_connections: 100,
            key_requests_per_second: 1_000,
            key_requests_burst: 2_000,
            message_bytes: 64 * 1024,
            fragments: 1_024,
            inbound_bytes_per_second: 256 * 1024,
            inbound_burst: 1024 * 1024,
            inbound_key_bytes_per_second: 16 * 1024 * 1024,
            inbound_key_burst: 16 * 1024 * 1024,
            empty_frames: 1_024,
            unfinished_bytes: (256 * 1024 * 1024).min(*QUARTER),
            subscriptions: 128,
            session_publishes: 64,
            session_subscribes_per_second: 50,
            session_subscribes_burst: 200,
            session_publishes_per_second: 100,
            session_publishes_burst: 200,
            outbox_bytes: 1024 * 1024,
            outbox_frames: 1_024,
            outboxes_bytes: *QUARTER,
            body_bytes: 1024 * 1024,
            batch_messages: 1_000,
            publish_messages: 4_096,
            publish_bytes: 4 * 1024 * 1024,
            publish_channels: 200_000,
            publish_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            user_timeout: Duration::from_secs(10),
            interest_linger: Duration::from_secs(2),
            window_bytes: (64 * 1024 * 1024).min(*QUARTER),
            window_age: Duration::from_secs(300),
            window_channels: 100_000,
            recovery_messages: 1_000,
            recovery_bytes: (16 * 1024 * 1024).min(*QUARTER / 4),
            history_bytes: 1024 * 1024,
            history_requests: 16,
            id_memory: Duration::from_secs(300),
            id_entries: 1_000_000,
            presence_members: 100_000,
            presence_session_members: 32,
            presence_page: 1_000,
            presence_questions: 4_096,
            presence_grace: Duration::from_secs(10),
            presence_beat: Duration::from_secs(5),
            presence_dead: Duration::from_secs(15),
            beacon_interval: Duration::from_secs(1),
            deaf_after: Duration::from_secs(3),
        }
    }
}

/// Reads a duration in quotes, for serde's `deserialize_with`.
///
/// # Errors
/// A text that is no duration is refused with the form to write.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Form;
    impl de::Visitor<'_> for Form {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration in quotes, such as '250ms', '25s', '5m' or '1h'")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Form)
}
