//! How this instance stands with its broker: what the backend says, what the beacons show, and why the broker takes nothing.
//!
//! [`Standing`] decides, and knows neither tasks nor clocks. [`HealthState`] keeps it for all threads and wakes those who
//! wait; [`watch`] is the task that looks after the beacons.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hubplane_backplane::{GapCause, Scope};
use tokio::{
    sync::watch as channel,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{Hub, sequencer::Sequence};

/// How often the beacons are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How many times longer than elsewhere a lane of a log may be silent before its subscriptions are told.
const LOG_IS_DEAF: u32 = 10;

/// How this instance stands with its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Messages arrive.
    Up,
    /// Nothing arrives; the reason, for people.
    Down(String),
}

/// What is known, and what follows from it. Pure: times come in.
#[derive(Debug)]
struct Standing {
    /// What the backend said of its connection.
    said: Health,
    /// Since when it has been connected, if it is.
    connected: Option<Instant>,
    /// What the beacons show, if that is trouble.
    shown: Option<String>,
    /// Why the broker did not take what was published last, in its own words; `None` if it took it.
    refused: Option<String>,
}

impl Standing {
    /// Connected, as every opened backend is, and not yet heard.
    fn new(now: Instant) -> Self {
        Self {
            said: Health::Up,
            connected: Some(now),
            shown: Some("the first beacon has not come back yet".to_owned()),
            refused: None,
        }
    }

    /// What the backend says goes before what the beacons show: it knows more of its connection.
    fn health(&self) -> Health {
        match (&self.said, &self.shown, &self.refused) {
            (Health::Up, None, _) => Health::Up,
            (Health::Up, Some(trouble), None) => Health::Down(trouble.clone()),
            (Health::Up, Some(trouble), Some(reason)) => {
                Health::Down(format!("{trouble}; the broker takes nothing: {reason}"))
            }
            (down, ..) => down.clone(),
        }
    }

    /// The backend says this of its connection.
    fn said(&mut self, health: Health, now: Instant) {
        self.connected = (health == Health::Up).then_some(now);
        self.said = health;
    }
}

/// The last that was found, for all threads.
#[derive(Debug)]
pub(crate) struct HealthState {
    standing: Mutex<Standing>,
    /// What follows from it, for those who wait for it to change.
    health: channel::Sender<Health>,
}

impl HealthState {
    pub(crate) fn new() -> Self {
        let standing = Standing::new(Instant::now());
        Self {
            health: channel::Sender::new(standing.health()),
            standing: Mutex::new(standing),
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Waits until messages arrive, at most for this time. Returns true if they do.
    pub(crate) async fn is_up_within(&self, most: Duration) -> bool {
        let mut health = self.health.subscribe();
        let up = health.wait_for(|health| *health == Health::Up);
        matches!(timeout(most, up).await, Ok(Ok(_)))
    }

    /// How long the backend has been connected without a break; nothing while it is not.
    pub(crate) fn connected_for(&self, now: Instant) -> Duration {
        let since = self.standing().connected;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Notes what the backend says of its connection.
    pub(crate) fn set(&self, health: Health) {
        self.change(|standing| standing.said(health, Instant::now()));
    }

    /// Notes why the broker did not take a batch, or that it took one.
    pub(crate) fn refused(&self, reason: Option<String>) {
        if self.standing().refused != reason {
            self.change(|standing| standing.refused = reason);
        }
    }

    /// Notes what the beacons show.
    fn show(&self, trouble: Option<String>) {
        if self.standing().shown != trouble {
            self.change(|standing| standing.shown = trouble);
        }
    }

    /// Returns true if the backend says that it is connected.
    fn is_connected(&self) -> bool {
        self.standing().said == Health::Up
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing();
        change(&mut standing);
        // Under the lock, so that of two changes the later is what stays.
        let health = standing.health();
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }
}

/// Looks after the beacons for as long as the hub lives. Where they don't come back, the subscriptions are told, and
/// the backend must read anew what the broker has acknowledged.
pub(crate) async fn watch(hub: &Hub) {
    let limits = hub.limits();
    let mut looks = interval(LOOK.min(limits.beacon_interval));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let most = limits.deaf_after.max(2 * limits.beacon_interval);
    // A log still has what has not come yet: once it is read up without a hole, nobody has missed anything.
    let deaf = match hub.capabilities().has_positions() {
        true => LOG_IS_DEAF * most,
        false => most,
    };
    loop {
        looks.tick().await;
        let findings = hub.beacon_monitor().look(Instant::now(), most, deaf);
        if let Some(trouble) = &findings.trouble {
            tracing::debug!(%trouble, "beacons");
        }
        hub.health_state().show(findings.trouble);
        // What the backend knows of, it tells itself.
        let unknown = hub.health_state().is_connected();
        for sequence in findings.deaf.into_iter().filter(|_| unknown) {
            let scope = match sequence {
                Sequence::Lane(lane) if hub.capabilities().has_positions() => Scope::Lane(lane),
                _ => Scope::All,
            };
            hub.announce(scope, GapCause::Deaf).await;
        }
        if findings.renew {
            tracing::warn!("what the broker has acknowledged doesn't come back; reading anew");
            hub.backplane().renew();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(reason: &str) -> Health {
        Health::Down(reason.to_owned())
    }

    #[test]
    fn the_backends_word_goes_first_and_a_refusal_explains_the_beacons() {
        let now = Instant::now();
        let mut standing = Standing::new(now);
        assert!(
            matches!(standing.health(), Health::Down(_)),
            "not heard yet"
        );
        standing.refused = Some("no right".to_owned());
        standing.shown = None;
        assert_eq!(
            standing.health(),
            Health::Up,
            "one refused message is no trouble"
        );
        standing.shown = Some("nothing comes back".to_owned());
        assert_eq!(
            standing.health(),
            down("nothing comes back; the broker takes nothing: no right")
        );
        standing.said(down("gone"), now);
        assert_eq!(standing.health(), down("gone"));
        assert_eq!(standing.connected, None);
        standing.said(Health::Up, now);
        assert_eq!(standing.connected, Some(now));
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_messages_arrive() {
        let state = HealthState::new();
        assert!(!state.is_up_within(Duration::from_millis(10)).await);
        let (up, ()) = tokio::join!(state.is_up_within(Duration::from_secs(10)), async {
            state.show(None);
        });
        assert!(up);
        state.set(down("gone"));
        assert_eq!(state.health(), down("gone"));
    }
}
