//! How this instance stands with its broker: what the backend says of its connection, and what the
//! beacons show. It is up only while both are well.
//!
//! A connection can look well while nothing arrives; only this instance's own beacons prove that it
//! hears.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hubplane_backplane::{GapCause, Scope};
use tokio::time::{MissedTickBehavior, interval};

use crate::{Hub, sequencer::Sequence};

/// How often the beacons are looked at, unless they come more often.
const LOOK: Duration = Duration::from_millis(100);
/// How many times longer a lane of a log may be silent than elsewhere before its subscriptions are
/// told. What comes late out of a log was not missed.
const LOG_IS_DEAF: u32 = 10;

/// How this instance stands with its broker, in one word and a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Messages arrive: this instance's own beacons come back.
    Up,
    /// Nothing arrives; the reason, for people.
    Down(String),
}

/// The last that was found. Each lock is held for a single step, never across an await.
#[derive(Debug)]
pub(crate) struct HealthState {
    /// What the backend said of its connection.
    said: Mutex<Health>,
    /// Since when it has been connected, if it is.
    connected: Mutex<Option<Instant>>,
    /// What the beacons show.
    shown: Mutex<Option<String>>,
    /// Why the broker did not take what was published last, in its own words; `None` if it took it.
    refused: Mutex<Option<String>>,
}

impl HealthState {
    pub(crate) fn new() -> Self {
        let waiting = "the first beacon has not come back yet".to_owned();
        Self {
            said: Mutex::new(Health::Up),
            connected: Mutex::new(Some(Instant::now())),
            shown: Mutex::new(Some(waiting)),
            refused: Mutex::default(),
        }
    }

    /// Returns what the backend says; if that is well, what the beacons show.
    pub(crate) fn health(&self) -> Health {
        let said = self.said();
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match (&said, &*shown) {
            (Health::Up, Some(trouble)) => Health::Down(self.explained(trouble)),
            _ => said,
        }
    }

    /// Returns what the beacons show, with the broker's reason where there is one.
    fn explained(&self, trouble: &str) -> String {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &*refused {
            Some(reason) => format!("{trouble}; the broker takes nothing: {reason}"),
            None => trouble.to_owned(),
        }
    }

    /// Notes why the broker did not take the last batch, or with `None` that it took it.
    pub(crate) fn refused(&self, reason: Option<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Returns what the backend said of its connection last.
    fn said(&self) -> Health {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// Returns how long the backend has been connected without a break; zero while it is not.
    pub(crate) fn connected_for(&self) -> Duration {
        let connected = self.connected.lock();
        let since = *connected.unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes what the backend says. The time of the connection begins anew even if it was up
    /// already.
    pub(crate) fn set(&self, health: Health) {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *connected = (health == Health::Up).then(Instant::now);
        drop(connected);
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Notes what the beacons show: a reason, or `None` if they come back.
    fn show(&self, trouble: Option<String>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Watches the beacons for as long as the hub lives. Where they don't come back, the subscriptions
/// are told, and the backend is asked to read anew what the broker has acknowledged.
pub(crate) async fn watch(hub: &Hub) {
    let mut looks = interval(LOOK.min(hub.limits.beacon_interval));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // At least two beacons must be overdue: one may be late.
    let most = hub.limits.deaf_after.max(2 * hub.limits.beacon_interval);
    // A log still has what has not come yet: once it is read up without a hole, nobody has missed anything.
    let deaf = match hub.capabilities.has_positions() {
        true => LOG_IS_DEAF * most,
        false => most,
    };
    loop {
        looks.tick().await;
        let findings = hub.beacon_monitor().look(Instant::now(), most, deaf);
        if let Some(trouble) = &findings.trouble {
            tracing::debug!(%trouble, "beacons");
        }
        hub.health_state.show(findings.trouble);
        // While the connection is lost, the backend itself announces what may be missing.
        let unknown = hub.health_state.said() == Health::Up;
        for sequence in findings.deaf.into_iter().filter(|_| unknown) {
            // On a log each lane is read for itself; elsewhere everything comes by one connection.
            let scope = match sequence {
                Sequence::Lane(lane) if hub.capabilities.has_positions() => Scope::Lane(lane),
                _ => Scope::All,
            };
            hub.announce(scope, GapCause::Deaf).await;
        }
        if findings.renew {
            tracing::warn!("what the broker has acknowledged doesn't come back; reading anew");
            hub.backplane.renew();
        }
    }
}
