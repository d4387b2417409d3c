//! What this crate's first backend is called, and what it promises.

use hubplane_backplane::{Capabilities, Delivery, Durability, Interest, OnRestart, Order, Replay};

/// The backend's name in errors and logs.
pub(crate) const NAME: &str = "redis";
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerPublisher,
    delivery: Delivery::AtMostOnce,
    replay: Replay::None,
    durability: Durability::Forwarded,
    max_payload: 1024 * 1024,
    max_channel: 1024,
    interest: Interest::Routed,
    on_restart: OnRestart::Announced,
};
/// Events between a backend and its hub, up to 256 messages, and about 256 KiB, each.
pub(crate) const EVENTS: usize = 32;
