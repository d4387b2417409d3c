use async_trait::async_trait;

use crate::{Address, Result};

/// What a program needs that tries a backend on somebody's broker, and that production never does: places of its own
/// there, an outside producer, and cleaning up. The conformance suite uses it; a driver offers it by `Driver::spaces`.
///
/// All of it is told to the broker with the address's own hosts, login and TLS. Calls are made one at a time and take at
/// most 10 s, but filling a log takes what it takes; what the user has no right to is an error that says so.
#[async_trait]
pub trait Spaces: Send + Sync {
    /// The address of a place of its own that lies within the one of `address`, so that a right by prefix covers it: what
    /// is published here is never heard there. `name` is 1 to 24 bytes of `a-z`, `0-9` and `-`. All other settings stay.
    fn within(&self, address: &Address, name: &str) -> Address;

    /// What an address that was open leaves on the broker, and the command by which somebody removes it; with the
    /// address's hosts, never with its secrets.
    fn leaves(&self, address: &Address) -> Vec<Leaving>;

    /// Removes all that; no error if it is not there. Nobody has the address open.
    async fn remove(&self, address: &Address) -> Result<()>;

    /// Publishes as a program does that has never heard of this backend: the broker's own client, the bare data.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()>;

    /// Makes the log forget what it holds, so that positions from before are gone. An error where there is no log, or
    /// where it would take too much.
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
