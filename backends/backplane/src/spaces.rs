//! What a program needs to try a backend on a broker that others use, too. A hub never needs any of it.

use async_trait::async_trait;

use crate::{Address, Driver, Result};

/// A driver that can be tried on somebody's broker: it makes spaces of its own there, publishes as an outside program
/// does, and removes what it made. The conformance suite takes a `Spaces`; a hub takes a [`Driver`]. A backend that
/// nobody has to try from outside its own tests does not implement it.
///
/// A space is the part of the broker that one address names: a topic, a prefix or an exchange. What is published in one
/// space is never heard in another.
///
/// All methods use the hosts, the login and the TLS settings of the address. The caller makes one call at a time. A call
/// takes at most 10 s, but [`trim`](Self::trim) may have to fill a log and takes as long as that takes. If the user
/// lacks a right, the error says which.
#[async_trait]
pub trait Spaces: Driver {
    /// Returns the address of a space inside the space of `address`, so that a right given by prefix covers it. `name` is
    /// 1 to 24 bytes of `a-z`, `0-9` and `-`. All other settings stay.
    fn within(&self, address: &Address, name: &str) -> Address;

    /// Returns what stays on the broker once `address` was open, each with the command by which a person removes it. The
    /// texts name the hosts of the address and never its secrets.
    fn leaves(&self, address: &Address) -> Vec<Leaving>;

    /// Removes everything that [`leaves`](Self::leaves) names; what is not there is no error. Called while nobody has the
    /// address open.
    async fn remove(&self, address: &Address) -> Result<()>;

    /// Publishes the bare data by the broker's own client, as a program does that has never heard of this backend.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()>;

    /// Makes the log forget what it holds, so that earlier positions are gone. `Rejected` if there is no log, or if it is
    /// too large to be cut this way.
    async fn trim(&self, address: &Address) -> Result<()>;
}

/// Something that stays on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// What it is, such as `the topic news`.
    pub what: String,
    /// The command that removes it.
    pub removal: String,
}
