//! Which channels this instance needs from the broker: the sum over its shards.
//!
//! A channel is given back some seconds after its last subscription, so that a page that is loaded again
//! doesn't cost the broker two changes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hubplane_backplane::{Backplane, Channel, Error, ErrorKind};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{log::Log, sequencer::Sequence, shard::Mail};

/// Channels of one call to the backplane.
const BATCH: usize = 1_000;

/// Everybody's interest. One lock, taken when a channel gets its first or loses its last session on a shard.
#[derive(Debug)]
pub(super) struct Interest {
    /// Whether the broker routes by interest; if not, everything arrives anyway.
    routed: bool,
    linger: std::time::Duration,
    state: Mutex<RecoveryRequest>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct RecoveryRequest {
    channels: HashMap<Channel, Want>,
    /// To be subscribed.
    new: Vec<Channel>,
    /// Since when nobody wants them; those that are wanted again are passed over.
    idle: VecDeque<(Instant, Channel)>,
}

#[derive(Debug, Default)]
struct Want {
    /// Which shards, a bit each.
    shards: u64,
    /// The broker has confirmed it.
    active: bool,
    idle_since: Option<Instant>,
    /// The hub's own: never given back.
    kept: bool,
}

impl Interest {
    pub(super) fn new(routed: bool, linger: std::time::Duration) -> Self {
        Self {
            routed,
            linger,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A shard wants a channel. `true`: its messages arrive already; else [`Mail::Interest`] will tell.
    pub(super) fn add(&self, shard: usize, channel: &Channel) -> bool {
        if !self.routed {
            return true;
        }
        let mut wanted = self.lock();
        let want = wanted.channels.entry(Channel::clone(channel)).or_default();
        want.idle_since = None;
        want.shards |= 1 << shard;
        if want.active {
            return true;
        }
        wanted.new.push(Channel::clone(channel));
        drop(wanted);
        self.changed.notify_one();
        false
    }

    /// Whether a channel's messages arrive here.
    pub(super) fn is_active(&self, channel: &Channel) -> bool {
        let wanted = self.lock();
        !self.routed || wanted.channels.get(channel).is_some_and(|want| want.active)
    }

    /// The hub itself wants a channel, for ever.
    pub(super) fn keep(&self, channel: &Channel) {
        if self.routed {
            let mut wanted = self.lock();
            let want = wanted.channels.entry(Channel::clone(channel)).or_default();
            want.kept = true;
            wanted.new.push(Channel::clone(channel));
            drop(wanted);
            self.changed.notify_one();
        }
    }

    /// A shard wants a channel no more.
    pub(super) fn remove(&self, shard: usize, channel: &Channel) {
        if !self.routed {
            return;
        }
        let mut wanted = self.lock();
        let Some(want) = wanted.channels.get_mut(channel) else {
            return;
        };
        want.shards &= !(1 << shard);
        if want.shards == 0 && !want.kept {
            let now = Instant::now();
            want.idle_since = Some(now);
            wanted.idle.push_back((now, Channel::clone(channel)));
            drop(wanted);
            self.changed.notify_one();
        }
    }

    /// The broker refuses channels that it had confirmed: they are wanted no more. The hub's own stay noted, since the
    /// backend is asked for them once only.
    pub(super) fn drop_refused(&self, channels: &[Channel]) {
        let mut wanted = self.lock();
        for channel in channels {
            if wanted.channels.get(channel).is_some_and(|want| !want.kept) {
                wanted.channels.remove(channel);
            }
        }
    }

    /// Tells the backplane of changes, a batch at a time, for as long as the hub lives.
    pub(super) async fn run(
        &self,
        backplane: &dyn Backplane,
        shards: &[mpsc::Sender<Mail>],
        log: &Log,
        beacon_now: &Notify,
    ) {
        loop {
            let (new, more) = self.take_new();
            if more {
                self.changed.notify_one();
            }
            if !new.is_empty() {
                // What was heard of them is of the time before they were given back.
                for channel in &new {
                    let sequence = Sequence::Channel(Channel::clone(channel));
                    log.gap_detector().forget(&sequence);
                }
                self.subscribe(backplane, shards, &new).await;
                beacon_now.notify_one();
            }
            let (idle, next) = self.take_idle();
            if !idle.is_empty()
                && let Err(error) = backplane.unsubscribe(&idle).await
            {
                // The backend has dropped them from its interest all the same; it over-delivers for a while.
                tracing::debug!(%error, channels = idle.len(), "unsubscribing failed");
            }
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

    async fn subscribe(
        &self,
        backplane: &dyn Backplane,
        shards: &[mpsc::Sender<Mail>],
        new: &[Channel],
    ) {
        match backplane.subscribe(new).await {
            Err(error) if error.kind() == ErrorKind::Rejected && new.len() > 1 => {
                // One name that this broker can't carry must not cost the others.
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
        let result = result.map_err(Arc::new);
        let mut tell: Vec<Vec<Channel>> = vec![Vec::new(); shards.len()];
        let mut dropped = Vec::new();
        {
            let mut wanted = self.lock();
            for channel in channels {
                let Some(want) = wanted.channels.get_mut(channel) else {
                    continue;
                };
                want.active = result.is_ok();
                for (shard, tell) in tell.iter_mut().enumerate() {
                    if want.shards & (1 << shard) != 0 {
                        tell.push(Channel::clone(channel));
                    }
                }
                if want.kept {
                    // The backend subscribes to it on its return.
                    want.active = true;
                } else if result.is_err() {
                    wanted.channels.remove(channel);
                    dropped.push(Channel::clone(channel));
                }
            }
        }
        if let Err(error) = &result
            && error.kind() != ErrorKind::Rejected
        {
            // The backend would subscribe on its return to what nobody here waits for any more.
            _ = backplane.unsubscribe(&dropped).await;
        }
        for (shard, channels) in shards.iter().zip(tell) {
            if !channels.is_empty() {
                // A shard that is gone needs no answer.
                _ = shard.send(Mail::Interest(channels, result.clone())).await;
            }
        }
    }

    /// Channels to subscribe, and whether there are more.
    fn take_new(&self) -> (Vec<Channel>, bool) {
        let mut wanted = self.lock();
        let count = wanted.new.len().min(BATCH);
        let mut new: Vec<_> = wanted.new.drain(..count).collect();
        new.retain(|channel| {
            wanted
                .channels
                .get(channel)
                .is_some_and(|want| !want.active)
        });
        new.sort_unstable();
        new.dedup();
        (new, !wanted.new.is_empty())
    }

    /// Channels that nobody has wanted for long enough, and when the next will be.
    fn take_idle(&self) -> (Vec<Channel>, Option<Instant>) {
        let mut wanted = self.lock();
        let mut idle = Vec::new();
        while let Some((since, _)) = wanted.idle.front() {
            let due = *since + self.linger;
            if due > Instant::now() || idle.len() == BATCH {
                return (idle, Some(due));
            }
            let Some((since, channel)) = wanted.idle.pop_front() else {
                break;
            };
            if wanted
                .channels
                .get(&channel)
                .is_some_and(|want| want.idle_since == Some(since))
            {
                wanted.channels.remove(&channel);
                idle.push(channel);
            }
        }
        (idle, None)
    }

    fn lock(&self) -> MutexGuard<'_, RecoveryRequest> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
