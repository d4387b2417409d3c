//! What the second backend is called, and what it promises.

use hubplane_backplane::{
    Capabilities, Delivery, Durability, Error, Interest, OnRestart, Order, Replay,
};
use hubplane_kit::log_errors;

use crate::backend;

/// The name in errors.
pub(crate) const STREAMS: &str = "redis+streams";
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerChannel,
    delivery: Delivery::AtLeastOnce,
    replay: Replay::Bounded("max-length or max-age, in Redis's memory"),
    durability: Durability::Logged,
    interest: Interest::Everything,
    on_restart: OnRestart::Delivered,
    ..backend::CAPABILITIES
};

/// The same error in this backend's name.
pub(crate) fn renamed(error: Error) -> Error {
    log_errors::renamed(error, STREAMS)
}
