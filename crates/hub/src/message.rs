//! A message as clients know it, and which ids it may have.

use bytes::Bytes;
use hubplane_backplane::{Channel, MessageId, Origin, Tags};

use super::position::ClientPosition;

/// Longest id of a message, in bytes.
pub const MAX_ID: usize = 64;

/// Returns true if this can be a message's id: 1 to [`MAX_ID`] bytes of printable ASCII without spaces.
pub fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// One message as sessions receive it. The backend's form of it is a `Publication`; `log.rs`
/// converts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub channel: Channel,
    /// The bytes, exactly as published.
    pub data: Bytes,
    /// Its place in the log; `None` on brokers without one.
    pub position: Option<ClientPosition>,
    /// The publisher's id; if there was none and a hub published it, the hub's number.
    pub id: Option<MessageId>,
    /// The hub that published it and its number; `None` if another program published it.
    pub origin: Option<Origin>,
    /// The broker's other headers.
    pub tags: Tags,
}
