//! Which channels this instance needs from the broker: the sum over its shards. [`Wants`] decides,
//! and this file tells the broker and the shards.
//!
//! Only brokers that route by channel are asked; elsewhere everything arrives anyway. A channel is
//! given back some seconds after its last subscription, so that a page that is loaded again doesn't
//! cost the broker two changes.

mod wants;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hubplane_backplane::{Backplane, Channel, Error, ErrorKind};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use self::wants::{Settled, Wants};
use super::{log::Log, sequencer::Sequence, shard::Mail};

/// The interest of all shards and of the hub itself. One lock, taken when a channel gets its first
/// or loses its last session on a shard.
#[derive(Debug)]
pub(super) struct Interest {
    /// True if the broker routes by interest.
    routed: bool,
    /// What is wanted, and what to ask for next.
    wants: Mutex<Wants>,
    /// Wakes the task that asks the broker.
    changed: Notify,
}

impl Interest {
    /// No interest yet. A channel is kept for `linger` after its last subscription.
    pub(super) fn new(routed: bool, linger: Duration) -> Self {
        Self {
            routed,
            wants: Mutex::new(Wants::new(linger)),
            changed: Notify::new(),
        }
    }

    /// Notes that a shard wants a channel. Returns true if its messages arrive already; otherwise
    /// [`Mail::Interest`] tells the shard when they do.
    pub(super) fn add(&self, shard: usize, channel: &Channel) -> bool {
        let active = !self.routed || self.wants().add(shard, channel);
        if !active {
            self.changed.notify_one();
        }
        active
    }

    /// Returns true if a channel's messages arrive at this instance.
    pub(super) fn is_active(&self, channel: &Channel) -> bool {
        !self.routed || self.wants().is_active(channel)
    }

    /// Notes that the hub itself wants a channel, for ever.
    pub(super) fn keep(&self, channel: &Channel) {
        if self.routed {
            self.wants().keep(channel);
            self.changed.notify_one();
        }
    }

    /// Notes that a shard wants a channel no more.
    pub(super) fn remove(&self, shard: usize, channel: &Channel) {
        if self.routed && self.wants().remove(shard, channel, Instant::now()) {
            self.changed.notify_one();
        }
    }

    /// Notes that the broker refuses channels that it had confirmed.
    pub(super) fn drop_refused(&self, channels: &[Channel]) {
        self.wants().drop_refused(channels);
    }

    /// Tells the backplane of changes, a batch at a time, for as long as the hub lives. The only
    /// task that subscribes, so the calls never overtake each other.
    pub(super) async fn run(
        &self,
        backplane: &dyn Backplane,
        shards: &[mpsc::Sender<Mail>],
        log: &Log,
        beacon_now: &Notify,
    ) {
        loop {
            let (new, more) = self.wants().take_new();
            if more {
                self.changed.notify_one();
            }
            if !new.is_empty() {
                // What was heard of these channels is from before they were given back.
                for channel in &new {
                    let sequence = Sequence::Channel(Channel::clone(channel));
                    log.gap_detector().forget(&sequence);
                }
                self.subscribe(backplane, shards, &new).await;
                beacon_now.notify_one();
            }
            // After the new ones, for which clients wait.
            let (idle, next) = self.wants().take_idle(Instant::now());
            if !idle.is_empty()
                && let Err(error) = backplane.unsubscribe(&idle).await
            {
                // The backend has dropped them from its interest all the same; it over-delivers for a while.
                tracing::debug!(%error, channels = idle.len(), "unsubscribing failed");
            }
            // Nothing changes by itself before the next channel is due.
            match next {
                Some(next) => {
                    _ = timeout(
                        next.saturating_duration_since(Instant::now()),
                        self.changed.notified(),
                    )
                    .await
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Asks the broker for channels, and passes its answer on.
    async fn subscribe(
        &self,
        backplane: &dyn Backplane,
        shards: &[mpsc::Sender<Mail>],
        new: &[Channel],
    ) {
        match backplane.subscribe(new).await {
            Err(error) if error.kind() == ErrorKind::Rejected && new.len() > 1 => {
                // One name that this broker can't carry must not cost the others their
                // subscription.
                for channel in new {
                    let alone = std::slice::from_ref(channel);
                    let answer = backplane.subscribe(alone).await;
                    self.settle(backplane, shards, alone, answer).await;
                }
            }
            result => self.settle(backplane, shards, new, result).await,
        }
    }

    /// Notes the broker's answer and passes it on to the shards that wait for it.
    async fn settle(
        &self,
        backplane: &dyn Backplane,
        shards: &[mpsc::Sender<Mail>],
        channels: &[Channel],
        result: Result<(), Error>,
    ) {
        // Shared by the mails of all shards.
        let result = result.map_err(Arc::new);
        let Settled { tell, dropped } = self.wants().settle(channels, result.is_ok(), shards.len());
        if let Err(error) = &result
            && error.kind() != ErrorKind::Rejected
        {
            // Otherwise the backend would subscribe to these when the broker is back, although
            // nobody waits for them any more.
            _ = backplane.unsubscribe(&dropped).await;
        }
        for (shard, channels) in shards.iter().zip(tell) {
            if !channels.is_empty() {
                // A shard that is gone needs no answer.
                _ = shard.send(Mail::Interest(channels, result.clone())).await;
            }
        }
    }

    /// Locks the interest, for a step and never across an await.
    fn wants(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
