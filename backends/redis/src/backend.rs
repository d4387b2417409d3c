//! What this crate's first backend is called, and what it promises the hub. The reasons are in the
//! crate's documentation; the conformance suite holds the backend to it.

use hubplane_backplane::{Capabilities, Delivery, Durability, Interest, OnRestart, Order, Replay};

/// The backend's name in errors and logs.
pub(crate) const NAME: &str = "redis";
/// The promises. At most once, because Redis keeps no message: whoever is not connected misses it.
/// The payload is far below Redis's own limit of 512 MB: what one message may cost each hub.
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
/// Messages, and about how many bytes of them, in one event: what the hub works through at one go.
pub(crate) const BATCH: usize = 256;
pub(crate) const BATCH_BYTES: usize = 256 * 1024;
/// Events that may wait between a backend and its hub: 8 MiB of messages at most.
pub(crate) const EVENTS: usize = 32;
