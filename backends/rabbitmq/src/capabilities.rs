//! What the first backend promises.

use hubplane_backplane::{Capabilities, Delivery, Durability, Interest, OnRestart, Order, Replay};

/// The name in errors.
pub(crate) const NAME: &str = "amqp";

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
