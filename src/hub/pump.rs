//! From the backplane to the shards: one mail a shard for each event, however many messages it has.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use hubplane_backplane::{Event, Events};
use tokio::sync::mpsc;

use super::{Hub, frame::Encoded, shard::Mail};

/// How this instance stands with its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Messages arrive.
    Up,
    /// Nothing arrives; the reason.
    Down(String),
}

/// The last that the backend said of its connection.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<Health>);

impl Pulse {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Health::Up))
    }

    pub(super) fn health(&self) -> Health {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, health: Health) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// Passes events on until the backend is closed. A shard that is behind makes the pump, and so the broker, wait.
pub(super) async fn run(mut events: Events, hub: &Hub) {
    let (pulse, shards) = (&hub.pulse, &hub.shards);
    while let Some(event) = events.recv().await {
        match event {
            Event::Published(publications) => {
                let batch = Arc::new(
                    publications
                        .into_iter()
                        .map(Encoded::new)
                        .collect::<Vec<_>>(),
                );
                post(shards, || Mail::Published(Arc::clone(&batch))).await;
            }
            Event::Progress(position) => post(shards, || Mail::Progress(position)).await,
            Event::Gap { scope, cause } => {
                tracing::warn!(%cause, ?scope, "messages may have been missed; telling the subscriptions concerned");
                hub.counts.gaps.fetch_add(1, Ordering::Relaxed);
                let scope = Arc::new(scope);
                post(shards, || Mail::Gap(Arc::clone(&scope), cause)).await;
            }
            Event::Down(reason) => {
                tracing::warn!(%reason, "the broker is away; reconnecting");
                pulse.set(Health::Down(reason));
            }
            Event::Up => {
                tracing::info!("the broker is back");
                pulse.set(Health::Up);
            }
        }
    }
    pulse.set(Health::Down("the backplane is closed".to_owned()));
}

async fn post(shards: &[mpsc::Sender<Mail>], mail: impl Fn() -> Mail) {
    for shard in shards {
        // A shard that is gone has no sessions.
        _ = shard.send(mail()).await;
    }
}
