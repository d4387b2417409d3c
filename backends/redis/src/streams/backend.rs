//! What the second backend is called, and what it promises the hub beyond the first. The reasons
//! are in the module's documentation.

use hubplane_backplane::{
    Capabilities, Delivery, Durability, Error, Interest, OnRestart, Order, Replay,
};
use hubplane_kit::log_errors;

use crate::backend;

/// The backend's name in errors and logs, and its first scheme.
pub(crate) const STREAMS: &str = "redis+streams";
/// The promises: what is not named here is as with the first backend. Every instance reads all
/// streams, so a subscription is no affair of Redis.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerChannel,
    delivery: Delivery::AtLeastOnce,
    replay: Replay::Bounded("max-length or max-age, in Redis's memory"),
    durability: Durability::Logged,
    interest: Interest::Everything,
    on_restart: OnRestart::Delivered,
    ..backend::CAPABILITIES
};

/// Returns the same error in this backend's name. Connections and the publisher belong to both
/// backends and report in the name of the first.
pub(crate) fn renamed(error: Error) -> Error {
    log_errors::renamed(error, STREAMS)
}
