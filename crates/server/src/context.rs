//! What every route needs.

use std::sync::Arc;

use hubplane_hub::Hub;
use hubplane_identity::Access;
use tokio::sync::{Semaphore, mpsc};

use super::handoff::{Handoff, Shards};

/// What every route needs.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) hub: Arc<Hub>,
    pub(super) access: Arc<Access>,
    /// A place for each page of history that is read at once.
    pub(super) history: Arc<Semaphore>,
    pub(super) target: Target,
}

/// Where a new WebSocket goes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To the shard whose thread serves the request.
    Here(mpsc::Sender<Handoff>),
    /// To whichever shard has the fewest.
    Any(Shards),
}

impl Context {
    /// For requests that a shard's own thread serves.
    pub(super) const fn pinned(
        hub: Arc<Hub>,
        access: Arc<Access>,
        history: Arc<Semaphore>,
        shard: mpsc::Sender<Handoff>,
    ) -> Self {
        Self {
            hub,
            access,
            history,
            target: Target::Here(shard),
        }
    }

    /// For requests that another server serves.
    pub(super) fn embedded(shards: Shards, access: Arc<Access>) -> Self {
        Self {
            hub: Arc::clone(shards.hub()),
            access,
            history: Arc::clone(shards.history()),
            target: Target::Any(shards),
        }
    }
}
