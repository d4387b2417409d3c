//! The names of a shard's sessions and subscriptions, by which answers from elsewhere find them
//! again. What is gone is found by no name, even if something else has its place.

/// Names a session of a shard. `serial` tells it from earlier sessions at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// Names a subscription for as long as it waits. `serial` is unique on the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionKey {
    pub(crate) session: Key,
    pub(crate) serial: u64,
}
