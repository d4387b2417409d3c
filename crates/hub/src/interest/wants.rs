//! What the shards want, and what is to be asked of the broker next. Pure; the time comes in.
//!
//! A channel is here from the first shard that wants it until it has been given back to the broker.
//! It is asked for once, however many want it.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

/// The most channels of one call to the backplane.
const BATCH: usize = 1_000;

/// All channels that somebody on this instance wants, or wanted a moment ago.
#[derive(Debug)]
pub(super) struct Wants {
    /// How long a channel is kept after nobody wants it any more.
    linger: Duration,
    channels: HashMap<Channel, Want>,
    /// Channels to be subscribed; some may not be wanted any more.
    new: Vec<Channel>,
    /// Since when nobody wants which channel, in that order. One that is wanted again is passed
    /// over.
    idle: VecDeque<(Instant, Channel)>,
}

#[derive(Debug, Default)]
struct Want {
    /// The shards that want it, one bit each.
    shards: u64,
    /// True once the broker has confirmed the interest.
    active: bool,
    /// Since when nobody wants it. Tells the valid entry in `idle` from older ones.
    idle_since: Option<Instant>,
    /// True for the hub's own channels, which are never given back.
    kept: bool,
}

/// What follows from the broker's answer for a batch of channels.
#[derive(Debug)]
pub(super) struct Settled {
    /// The channels that each shard waits for, by the shard's index.
    pub(super) tell: Vec<Vec<Channel>>,
    /// Channels that are not wanted any more, because the broker did not confirm them.
    pub(super) dropped: Vec<Channel>,
}

impl Wants {
    /// No wants yet. A channel is kept for `linger` after nobody wants it any more.
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            linger,
            channels: HashMap::new(),
            new: Vec::new(),
            idle: VecDeque::new(),
        }
    }

    /// Notes that a shard wants a channel. Returns true if the broker has confirmed it already.
    pub(super) fn add(&mut self, shard: usize, channel: &Channel) -> bool {
        let want = self.channels.entry(Channel::clone(channel)).or_default();
        // Its entry in `idle` is passed over from now on.
        want.idle_since = None;
        want.shards |= 1 << shard;
        if !want.active {
            self.new.push(Channel::clone(channel));
        }
        want.active
    }

    /// Returns true if the broker has confirmed this channel.
    pub(super) fn is_active(&self, channel: &Channel) -> bool {
        self.channels.get(channel).is_some_and(|want| want.active)
    }

    /// Notes that the hub itself wants a channel, for ever.
    pub(super) fn keep(&mut self, channel: &Channel) {
        let want = self.channels.entry(Channel::clone(channel)).or_default();
        // From now on it is never idle, and never forgotten.
        want.kept = true;
        self.new.push(Channel::clone(channel));
    }

    /// Notes that a shard wants a channel no more. Returns true if nobody does.
    pub(super) fn remove(&mut self, shard: usize, channel: &Channel, now: Instant) -> bool {
        let Some(want) = self.channels.get_mut(channel) else {
            return false;
        };
        want.shards &= !(1 << shard);
        let unused = want.shards == 0 && !want.kept;
        if unused {
            want.idle_since = Some(now);
            self.idle.push_back((now, Channel::clone(channel)));
        }
        unused
    }

    /// Forgets channels that the broker had confirmed and now refuses. The hub's own stay, since
    /// the backend is asked for them only once.
    pub(super) fn drop_refused(&mut self, channels: &[Channel]) {
        for channel in channels {
            if self.channels.get(channel).is_some_and(|want| !want.kept) {
                self.channels.remove(channel);
            }
        }
    }

    /// Notes whether the broker has confirmed these channels. Those that it has not are forgotten;
    /// whoever still wants them asks again.
    pub(super) fn settle(
        &mut self,
        channels: &[Channel],
        confirmed: bool,
        shards: usize,
    ) -> Settled {
        let mut tell: Vec<Vec<Channel>> = vec![Vec::new(); shards];
        let mut dropped = Vec::new();
        for channel in channels {
            let Some(want) = self.channels.get_mut(channel) else {
                continue;
            };
            // Shards are told below, whatever the answer is.
            want.active = confirmed;
            for (shard, tell) in tell.iter_mut().enumerate() {
                if want.shards & (1 << shard) != 0 {
                    tell.push(Channel::clone(channel));
                }
            }
            if want.kept {
                // The backend subscribes to it by itself when the broker is back.
                want.active = true;
            } else if !confirmed {
                self.channels.remove(channel);
                dropped.push(Channel::clone(channel));
            }
        }
        Settled { tell, dropped }
    }

    /// Returns channels to subscribe, each once, and whether there are more.
    pub(super) fn take_new(&mut self) -> (Vec<Channel>, bool) {
        // No more than one call takes; the rest is the next batch.
        let count = self.new.len().min(BATCH);
        let mut new: Vec<_> = self.new.drain(..count).collect();
        // Some have been given up, or were confirmed in an earlier batch.
        new.retain(|channel| self.channels.get(channel).is_some_and(|want| !want.active));
        new.sort_unstable();
        new.dedup();
        (new, !self.new.is_empty())
    }

    /// Returns channels that nobody has wanted for long enough, and when the next one will be due.
    pub(super) fn take_idle(&mut self, now: Instant) -> (Vec<Channel>, Option<Instant>) {
        let mut idle = Vec::new();
        while let Some((since, _)) = self.idle.front() {
            // The first is the first that is due, since all are kept equally long.
            let due = *since + self.linger;
            if due > now || idle.len() == BATCH {
                return (idle, Some(due));
            }
            let Some((since, channel)) = self.idle.pop_front() else {
                break;
            };
            // It may have been wanted, and given up again, since this entry was made.
            let want = self.channels.get(&channel);
            if want.is_some_and(|want| want.idle_since == Some(since)) {
                self.channels.remove(&channel);
                idle.push(channel);
            }
        }
        (idle, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| Channel::from(*name)).collect()
    }

    #[test]
    fn a_channel_is_asked_for_once_and_each_shard_is_told() {
        let mut wants = Wants::new(Duration::ZERO);
        assert!(!wants.add(0, &"a".into()) && !wants.add(1, &"a".into()));
        wants.add(1, &"b".into());
        let (new, more) = wants.take_new();
        assert_eq!((&new, more), (&channels(&["a", "b"]), false));
        let Settled { tell, dropped } = wants.settle(&new, true, 2);
        assert_eq!(tell, [channels(&["a"]), channels(&["a", "b"])]);
        assert!(
            dropped.is_empty() && wants.add(0, &"b".into()),
            "it arrives"
        );
        assert!(wants.take_new().0.is_empty());
    }

    #[test]
    fn a_channel_is_given_back_only_if_nobody_wants_it_again() {
        let linger = Duration::from_secs(2);
        let (mut wants, now) = (Wants::new(linger), Instant::now());
        for name in ["left", "again"] {
            wants.add(0, &name.into());
        }
        wants.settle(&channels(&["left", "again"]), true, 1);
        assert!(wants.remove(0, &"left".into(), now));
        assert!(wants.remove(0, &"again".into(), now));
        assert_eq!(wants.take_idle(now), (Vec::new(), Some(now + linger)));
        assert!(wants.add(0, &"again".into()), "it still arrives");
        let (idle, next) = wants.take_idle(now + linger);
        assert_eq!((idle, next), (channels(&["left"]), None));
        assert!(wants.is_active(&"again".into()) && !wants.is_active(&"left".into()));
    }

    #[test]
    fn what_is_refused_is_dropped_except_for_the_hubs_own() {
        let mut wants = Wants::new(Duration::ZERO);
        wants.keep(&"$own".into());
        wants.add(0, &"a".into());
        let (new, _) = wants.take_new();
        let settled = wants.settle(&new, false, 1);
        assert_eq!(settled.dropped, channels(&["a"]));
        wants.drop_refused(&channels(&["$own"]));
        assert!(wants.is_active(&"$own".into()));
        assert!(!wants.is_active(&"a".into()));
    }
}
