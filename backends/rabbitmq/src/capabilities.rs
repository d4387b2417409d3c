//! What this crate's first backend is called, and what it promises the hub. The reasons are in the
//! crate's documentation; the conformance suite holds the backend to it.

use hubplane_backplane::{Capabilities, Delivery, Durability, Interest, OnRestart, Order, Replay};

/// The backend's name in errors and logs.
pub(crate) const NAME: &str = "amqp";

/// The promises. At least once, because the broker delivers again what was not acknowledged when a
/// connection broke; the filter in [`crate::redelivery`] drops most of that. A channel's name is a
/// routing key, which AMQP bounds at 255 bytes.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerPublisher,
    delivery: Delivery::AtLeastOnce,
    replay: Replay::None,
    durability: Durability::Queued,
    max_payload: 1024 * 1024,
    max_channel: 255,
    interest: Interest::Everything,
    on_restart: OnRestart::Announced,
};
