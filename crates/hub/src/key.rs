//! What sessions and subscriptions of a shard are called.

/// Names a session of a shard. No other session ever has the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// Names a subscription that waits, for as long as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionKey {
    pub(crate) session: Key,
    pub(crate) serial: u64,
}
