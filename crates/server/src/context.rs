//! What every route needs, in one value: the hub, who may do what, and where a new session goes.
//!
//! Routes ask [`Context::grant`] or [`Context::may_read`] before they act. How a key is checked is
//! known to `hubplane-identity` alone, and what a grant allows to `Grant::allows` in the hub.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::{HeaderMap, StatusCode, header};
use hubplane_hub::{Action, Grant, Hub, Unproven, Who};
use hubplane_identity::{Access, NotAdmitted, bearer};
use tokio::sync::{Semaphore, mpsc};

use super::{
    handoff::{Handoff, Shards},
    handshakes::Handshakes,
    limiter::{Limiter, Peer},
    problem::Problem,
};

/// What every route needs. warp clones it for each request, so all of it is cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) hub: Arc<Hub>,
    pub(super) access: Arc<Access>,
    /// One permit for each page of history that may be read at once (`history_requests`); all
    /// shards share them.
    pub(super) history: Arc<Semaphore>,
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) limiter: Arc<Limiter>,
    /// Where the request comes from, if the hub's own server serves it.
    pub(super) peer: Option<Peer>,
    pub(super) target: Target,
}

/// Which shard a new session goes to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To the shard whose thread serves the request: the socket is registered with that thread's
    /// runtime already.
    Here(mpsc::Sender<Handoff>),
    /// To the shard with the fewest sessions. The request is served by another server, on a thread
    /// that is no shard's.
    Any(Shards),
}

impl Context {
    /// Returns what a request may do. Every route asks this, as every command of a session asks the
    /// session's grant.
    ///
    /// # Errors
    /// 401: the request shows a key, and it is wrong. A request without a key gets an anonymous
    /// grant.
    pub(super) fn grant(&self, headers: &HeaderMap) -> Result<Grant, Problem> {
        self.grant_from(headers, Ipv4Addr::UNSPECIFIED.into())
    }

    fn grant_from(&self, headers: &HeaderMap, address: IpAddr) -> Result<Grant, Problem> {
        let wrong = |Unproven(why)| {
            Problem::new(StatusCode::UNAUTHORIZED, why.into_owned())
                .with_header(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
        };
        let grant = self.access.grant_from(headers, address).map_err(wrong)?;
        match self.hub.admits(&grant) {
            true => Ok(grant),
            false => {
                let detail = "the token was revoked";
                Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
        }
    }

    /// Returns the address that the request comes from; another server does not tell it.
    pub(super) fn address(&self) -> IpAddr {
        let address = self.peer.as_ref().map(Peer::address);
        address.unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// Returns what a client may do that wants to connect from this address. Asks the operator's
    /// backend where there is one and the client shows nothing.
    ///
    /// # Errors
    /// As [`Context::grant`]. 403: the backend has refused. 503: the backend can't decide now.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Grant, Problem> {
        if let Some(proof) = headers.get(header::AUTHORIZATION).and_then(bearer) {
            self.access.wait_for_key(proof).await;
        }
        match self.access.admit(headers, address).await {
            Ok(Some(grant)) => Ok(grant),
            Ok(None) => self.grant_from(headers, address),
            Err(NotAdmitted::Refused(reason)) => {
                let reason = reason.unwrap_or_else(|| "this client may not connect".to_owned());
                Err(Problem::new(StatusCode::FORBIDDEN, reason))
            }
            Err(NotAdmitted::Undecided(wait)) => {
                let detail = "nobody can decide now whether this client may connect; try again";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_retry_after(wait))
            }
        }
    }

    /// Returns what a request may do that wants to do `action` somewhere: a reason to refuse it
    /// before its body is read.
    ///
    /// # Errors
    /// 401: the request shows no key or a wrong one; both get the same answer, so that nobody
    /// learns anything by trying. 403: what it shows does not allow this on any channel.
    pub(super) fn grant_for(&self, headers: &HeaderMap, action: Action) -> Result<Grant, Problem> {
        let grant = match self.grant(headers) {
            // Why a token is not accepted tells nobody anything about keys.
            Err(problem) if self.access.takes_tokens() => return Err(problem),
            grant => grant.ok(),
        };
        let Some(grant) =
            grant.filter(|it| it.who != Who::Anonymous || it.allows_somewhere(action))
        else {
            let detail = "this needs the hub's key: Authorization: Bearer …";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail)
                .with_header(header::WWW_AUTHENTICATE, "Bearer"));
        };
        match grant.allows_somewhere(action) {
            true => Ok(grant),
            false => {
                let detail = "the key or token that was shown does not allow this";
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
        }
    }

    /// Returns an error unless a request may do `action` on `channel`. This is for routes that only
    /// read: it also checks the origin of the page that asks, so that a foreign page can't use its
    /// visitor's network to read a hub.
    ///
    /// # Errors
    /// 401: the request shows a key, and it is wrong. 403: the page's origin or the grant does not
    /// allow it.
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
        let grant = self.grant(headers)?;
        self.take_request(&grant)?;
        match grant.allows(action, channel) {
            true => Ok(()),
            false => forbidden("this channel may not be read so"),
        }
    }

    /// Counts one request that publishes or reads a channel.
    ///
    /// # Errors
    /// 429: whoever asks has asked too often.
    pub(super) fn take_request(&self, grant: &Grant) -> Result<(), Problem> {
        let asks = (grant, self.peer.as_ref());
        let taken = self.limiter.request(&self.hub, asks);
        taken.map_err(|limited| Problem::limited(&limited))
    }

    /// The context of requests that a shard's own thread serves.
    pub(super) fn pinned(
        hub: Arc<Hub>,
        access: Arc<Access>,
        history: Arc<Semaphore>,
        (handshakes, limiter): (Arc<Handshakes>, Arc<Limiter>),
        shard: mpsc::Sender<Handoff>,
    ) -> Self {
        Self {
            hub,
            access,
            history,
            handshakes,
            limiter,
            peer: None,
            target: Target::Here(shard),
        }
    }

    /// The context of requests that the server of an application serves, which embeds the hub.
    pub(super) fn embedded(shards: Shards, access: Arc<Access>) -> Self {
        Self {
            hub: Arc::clone(shards.hub()),
            access,
            history: Arc::clone(shards.history()),
            handshakes: Arc::clone(shards.handshakes()),
            limiter: Arc::clone(&shards.limiter),
            peer: None,
            target: Target::Any(shards),
        }
    }
}
