//! The embedded backend: a log in this process's memory, for one hub, for tests and for several hubs of one process.
//!
//! # Address
//! `memory:` opens a log of its own, so that two opens never hear each other. `memory://NAME` shares the log of that
//! name among all opens of this process; it is there as long as one of them is open. Keys, which all opens of one
//! name must state alike or leave out:
//!
//! | key | default | what |
//! |---|---|---|
//! | `max-messages` | 100000 | messages kept |
//! | `max-bytes` | 67108864 | bytes kept, each message counted with its channel, its tags and 128 bytes for the rest |
//!
//! # Delivery
//! Once, on every open instance, the publisher's own included; the receipt is the position in the log. Each instance
//! reads the log at its own pace and never holds up a publisher or another instance: one that is so slow that the
//! log no longer reaches back to it gets a `Gap` (`Trimmed`) before the next message.
//!
//! # Order
//! One order for everything, the same on every instance: there is one lane, 0.
//!
//! # History
//! As far back as `max-messages` and `max-bytes` keep. A new log has a new random epoch.
//!
//! # Reconnection
//! There is nothing to connect to, so `Down` and `Up` never come. What is in the log ends with the process.
//!
//! # What it creates
//! Nothing outside this process.

mod config;
mod connection;
mod consume;
mod history;
mod log;
mod spaces;

use async_trait::async_trait;
use hubplane_backplane::{
    Address, Capabilities, Delivery, Driver, Durability, Error, ErrorKind, Interest, OnRestart,
    Opened, Order, Replay, Result,
};

/// The name in errors.
const NAME: &str = "memory";

/// The `memory:` backend.
pub static DRIVER: MemoryDriver = MemoryDriver;

/// Opens `memory:` addresses; use it by [`DRIVER`].
#[derive(Debug)]
pub struct MemoryDriver;

/// What the log keeps to. The limits of payload and name are this backend's own: memory would take more, but a hub
/// that is developed on `memory:` should meet limits like those of a broker.
const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerChannel,
    delivery: Delivery::AtMostOnce,
    replay: Replay::Bounded("max-messages and max-bytes, in this process's memory"),
    durability: Durability::Process,
    max_payload: 1024 * 1024,
    max_channel: 1024,
    interest: Interest::Everything,
    on_restart: OnRestart::NoBroker,
};

#[async_trait]
impl Driver for MemoryDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        let config = config::Config::read(address)?;
        Ok(connection::open(log::Log::of(config)?))
    }
}

/// The error of a call on a closed instance.
fn closed() -> Error {
    Error::new(ErrorKind::Closed, NAME, "this instance was closed")
}
