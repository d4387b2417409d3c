//! Keys that an issuer publishes at a URL (JWKS), kept in memory and fetched anew from time to time.
//!
//! What must hold: one task per issuer fetches, so there is one request at a time, and asking for a
//! key never waits for it; whoever sends tokens with made-up key ids causes one request per
//! [`JwksLimits::cooldown`]; an endpoint that fails leaves the keys as they are, but not for longer
//! than [`JwksLimits::stale`]. Each issuer has its own keys: two that name theirs alike never mix.

mod fetch;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use tokio::{
    sync::{Notify, watch},
    time,
};

use self::fetch::Fetcher;
use super::{
    error::TokenError,
    jwk,
    keys::KeySet,
    settings::{JwksLimits, JwksSettings},
};

/// One issuer's published keys.
#[derive(Debug)]
pub(super) struct Remote {
    fetcher: Fetcher,
    limits: JwksLimits,
    state: RwLock<State>,
    /// Somebody misses a key.
    missed: Notify,
    /// Counts the ended fetches.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When the keys were fetched.
    fetched: Option<Instant>,
    /// When the last fetch began.
    began: Option<Instant>,
    /// True while a fetch is under way.
    fetching: bool,
    /// Why the last fetch failed.
    failure: Option<String>,
}

/// How an issuer's published keys are, for whoever runs the hub.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JwksState {
    /// Where the keys are.
    pub url: String,
    /// How many are held.
    pub keys: usize,
    /// When they were fetched; `None` if never.
    pub fetched: Option<Instant>,
    /// Why the last fetch failed; `None` if it did not.
    pub failure: Option<String>,
}

impl Remote {
    /// Prepares fetching. Nothing is fetched before [`Remote::run`].
    pub(super) fn new(settings: &JwksSettings) -> Result<Self, String> {
        Ok(Self {
            fetcher: Fetcher::new(settings)?,
            limits: settings.limits.clone(),
            state: RwLock::default(),
            missed: Notify::new(),
            ended: watch::Sender::new(0),
        })
    }

    /// Returns the keys as they are known now.
    pub(super) fn keys(&self) -> Result<Arc<KeySet>, TokenError> {
        let state = self.read();
        let fresh = state
            .fetched
            .is_some_and(|at| at.elapsed() <= self.limits.stale);
        let keys = state.keys.as_ref().filter(|_| fresh);
        keys.cloned().ok_or(TokenError::KeysUnavailable)
    }

    /// Hears that a token names a key that is not among them, and returns what to answer.
    pub(super) fn missed(&self) -> TokenError {
        // If it is too early, the task remembers it until the time has come.
        self.missed.notify_one();
        let recent = |at: Instant| at.elapsed() < self.limits.cooldown;
        if self.read().fetched.is_some_and(recent) {
            TokenError::KeyUnknown
        } else {
            TokenError::KeyNotThereYet
        }
    }

    /// Counts fetches from now on, for [`Remote::wait`].
    pub(super) fn fetches(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Waits until a fetch ends, if one is under way or may begin now: at most for the time that
    /// one may take.
    pub(super) async fn wait(&self, fetches: &mut watch::Receiver<u64>) {
        let near = {
            let state = self.read();
            let over = |at: Instant| at.elapsed() >= self.limits.cooldown;
            state.fetching || state.began.is_none_or(over)
        };
        if near {
            // Whether it came in time is seen by the keys.
            _ = time::timeout(self.limits.timeout, fetches.changed()).await;
        }
    }

    /// Fetches the keys again and again.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            {
                let mut state = self.write();
                state.began = Some(began);
                state.fetching = true;
            }
            let fetched = self.fetcher.fetch().await;
            let keys = fetched.and_then(|json| jwk::read(&json, false));
            let good = keys.is_ok();
            self.end(keys);
            let pause = if good {
                self.limits.refresh
            } else {
                self.limits.cooldown
            };
            tokio::select! {
                () = time::sleep(pause) => {}
                () = self.missed.notified() => {
                    time::sleep(self.limits.cooldown.saturating_sub(began.elapsed())).await;
                }
            }
        }
    }

    fn end(&self, keys: Result<Vec<super::keys::Key>, String>) {
        let mut state = self.write();
        state.fetching = false;
        match keys {
            Ok(keys) => {
                if state.failure.take().is_some() {
                    tracing::info!(
                        url = self.fetcher.url(),
                        "the issuer's keys can be fetched again"
                    );
                }
                state.keys = Some(Arc::new(KeySet(keys)));
                state.fetched = Some(Instant::now());
            }
            Err(why) => {
                if state.failure.as_ref() != Some(&why) {
                    tracing::warn!(
                        url = self.fetcher.url(),
                        why,
                        "the issuer's keys can't be fetched"
                    );
                }
                state.failure = Some(why);
            }
        }
        drop(state);
        self.ended.send_modify(|count| *count += 1);
    }

    /// Returns how the keys are.
    pub(super) fn state(&self) -> JwksState {
        let state = self.read();
        JwksState {
            url: self.fetcher.url(),
            keys: state.keys.as_ref().map_or(0, |keys| keys.0.len()),
            fetched: state.fetched,
            failure: state.failure.clone(),
        }
    }

    // The lock is held for a few instructions, and nothing that can panic is done under it.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
