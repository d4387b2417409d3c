//! Keeping the keys of all issuers up to date, and waiting for them where one may wait.

use std::{sync::Arc, time::SystemTime};

use tokio::task::JoinSet;

use super::{
    Issuers,
    claims::{self, Claims},
    error::TokenError,
    header::Header,
    issuer::{Keys, Parts},
    jwks::{JwksState, Remote},
};

/// Keeps keys up to date as long as it exists.
#[derive(Debug)]
#[must_use = "keys are fetched as long as this exists"]
pub struct Fetching {
    /// Dropping the set ends its tasks.
    _tasks: JoinSet<()>,
}

impl Issuers {
    /// Starts fetching the keys of issuers that publish them, on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(&self) -> Fetching {
        let mut tasks = JoinSet::new();
        for remote in self.remotes() {
            tasks.spawn(Arc::clone(remote).run());
        }
        Fetching { _tasks: tasks }
    }

    /// Checks a token as [`Issuers::verify`] does, and waits for its key if that is being fetched,
    /// at most for [`JwksLimits::timeout`](super::JwksLimits::timeout).
    ///
    /// # Errors
    /// The token is not accepted.
    pub async fn verify_fetching(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Claims, TokenError> {
        let parts = Parts::split(token)?;
        let header = Header::read(&parts.header)?;
        let claims = claims::object(&parts.claims)?;
        let issuer = self.issuer_of(&claims)?;
        let Keys::Published(remote) = &issuer.keys else {
            return issuer.check(&header, &parts, &claims, now);
        };
        // Before the first look, so that a fetch that ends in between is not waited for.
        let mut fetches = remote.fetches();
        match issuer.check(&header, &parts, &claims, now) {
            Err(TokenError::KeyNotThereYet | TokenError::KeysUnavailable) => {}
            decided => return decided,
        }
        remote.wait(&mut fetches).await;
        issuer.check(&header, &parts, &claims, now)
    }

    /// Returns how the published keys of each issuer are.
    pub fn published(&self) -> Vec<JwksState> {
        self.remotes().map(|remote| remote.state()).collect()
    }

    fn remotes(&self) -> impl Iterator<Item = &Arc<Remote>> {
        self.0.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Published(remote) => Some(remote),
            Keys::Fixed(_) => None,
        })
    }
}
