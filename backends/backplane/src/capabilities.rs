//! What backends promise, as data: programs print and compare it, the hub acts on it, and the conformance suite holds
//! it against the real broker.

use serde::Serialize;

use crate::{Error, ErrorKind, Result};

/// What a backend promises: data, the same for every open address of a scheme, held against the real broker by
/// the conformance suite. What is not declared is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// In which order messages arrive.
    pub order: Order,
    /// How often an accepted message arrives while the connection holds.
    pub delivery: Delivery,
    /// Whether old messages can be read again, and what bounds that.
    pub replay: Replay,
    /// What an acknowledged publish has survived.
    pub durability: Durability,
    /// The largest payload in bytes that the backend takes; one more is `Rejected`. The broker may be set lower.
    pub max_payload: usize,
    /// The longest channel name in bytes that the backend takes; one more is `Rejected`.
    pub max_channel: usize,
    /// What this instance receives of channels that it is not subscribed to.
    pub interest: Interest,
    /// What happens to accepted messages when the broker restarts.
    pub on_restart: OnRestart,
}

/// In which order messages arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// No promise.
    None,
    /// Each publisher's messages of a channel arrive in the order in which they were published.
    PerPublisher,
    /// Every instance sees one and the same order of a channel's messages, all publishers together.
    PerChannel,
}

/// How often an accepted message arrives while the connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Once or not at all; a loss is announced by a `Gap`.
    AtMostOnce,
    /// Once, or again after a fault.
    AtLeastOnce,
}

/// Whether old messages can be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// Never: `history()` is `None` and publications have no position.
    None,
    /// There are positions, but reading back is not offered; the text says what bounds the log.
    PositionsOnly(&'static str),
    /// `history()` is there; the text says what bounds it.
    Bounded(&'static str),
}

/// What an acknowledged publish has survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is in this process's memory.
    Process,
    /// The broker has passed it on; it is kept nowhere.
    Forwarded,
    /// The broker has queued it, in memory or on disk as the broker is set.
    Queued,
    /// The broker has written it to its log, on as many nodes as the topic asks for.
    Logged,
}

/// What an instance receives of channels that it is not subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interest {
    /// The broker sends only what the instance subscribed to.
    Routed,
    /// Every instance receives everything; the hub drops what none of its clients wants.
    Everything,
}

/// What happens to accepted messages when the broker restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRestart {
    /// There is no broker besides this process.
    NoBroker,
    /// They are delivered once it is back.
    Delivered,
    /// They may be lost; a `Gap` announces it.
    Announced,
}

impl Capabilities {
    /// Checks a payload of so many bytes and a channel name against the declared limits. `Rejected` if one is over, with
    /// both numbers; the name itself is not shown, it may be very long.
    pub fn check(&self, backend: &'static str, channel: &str, payload: usize) -> Result<()> {
        let over = |what, length: usize, most| {
            let message = format!("the {what} has {length} bytes; at most {most} are taken");
            Err(Error::new(ErrorKind::Rejected, backend, message))
        };
        if payload > self.max_payload {
            return over("payload", payload, self.max_payload);
        }
        if channel.len() > self.max_channel {
            return over("channel name", channel.len(), self.max_channel);
        }
        Ok(())
    }

    /// Returns true if publications carry positions.
    pub const fn has_positions(&self) -> bool {
        !matches!(self.replay, Replay::None)
    }

    /// Returns true if `Backplane::history` is there.
    pub const fn has_history(&self) -> bool {
        matches!(self.replay, Replay::Bounded(_))
    }
}
