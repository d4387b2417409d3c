//! A message as clients know it.

use bytes::Bytes;
use hubplane_backplane::{Channel, MessageId, Origin, Tags};

use super::position::ClientPosition;

/// One message as sessions receive it. The backend's form of it is a `Publication`.
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
    /// `None` if it was not published by a hub.
    pub origin: Option<Origin>,
    /// The broker's other headers.
    pub tags: Tags,
}
