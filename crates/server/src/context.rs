//! What every route needs.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use hubplane_hub::{Action, Grant, Hub};
use hubplane_identity::Access;
use tokio::sync::{Semaphore, mpsc};

use super::{
    handoff::{Handoff, Shards},
    problem::Problem,
};

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
    /// What a request may do. Every route asks what this returns, as every command asks its session's grant.
    ///
    /// # Errors
    /// 401: the request shows a key that is none.
    pub(super) fn grant(&self, headers: &HeaderMap) -> Result<Grant, Problem> {
        let wrong = |_| Problem::new(StatusCode::UNAUTHORIZED, "the key is wrong");
        self.access.grant_of(headers).map_err(wrong)
    }

    /// What a request may do that reads a channel, and the origin of whose page must be allowed.
    ///
    /// # Errors
    /// 401: the request shows a key that is none. 403: the page's origin, or the grant, does not allow it.
    pub(super) fn may_read(
        &self,
        headers: &HeaderMap,
        action: Action,
        channel: &str,
    ) -> Result<(), Problem> {
        let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
        if !self.access.origin_is_allowed(headers) {
            return forbidden("pages of this origin may not read here");
        }
        match self.grant(headers)?.allows(action, channel) {
            true => Ok(()),
            false => forbidden("this channel may not be read so"),
        }
    }

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
