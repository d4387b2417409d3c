//! The channels that this instance needs, and what Redis has confirmed of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hubplane_backplane::Channel;

/// Outlives connections: what is wanted is subscribed again on the next one.
#[derive(Debug, Default)]
pub(crate) struct Interest(Mutex<Wanted>);

/// What is wanted now.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// With whether this connection has confirmed it.
    channels: HashMap<Channel, bool>,
    /// Were confirmed on a connection that was lost, and no gap has told so yet.
    missed: HashSet<Channel>,
}

impl Interest {
    /// The lock is held for lookups only, never across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// The shared name, where the channel is wanted.
    pub(crate) fn get(&self, channel: &str) -> Option<&Channel> {
        self.channels
            .get_key_value(channel)
            .map(|(channel, _)| channel)
    }

    /// Adds channels, and returns those that Redis has yet to confirm.
    pub(crate) fn add(&mut self, channels: &[Channel]) -> Vec<Channel> {
        let mut open = Vec::new();
        for channel in channels {
            if !*self.channels.entry(Channel::clone(channel)).or_default() {
                open.push(Channel::clone(channel));
            }
        }
        open
    }

    /// Removes channels, and returns those that were there.
    pub(crate) fn remove(&mut self, channels: &[Channel]) -> Vec<Channel> {
        let gone = channels
            .iter()
            .filter_map(|c| self.channels.remove_entry(c));
        gone.map(|(channel, _)| channel).collect()
    }

    /// Redis confirmed these, as far as they are still wanted.
    pub(crate) fn confirm(&mut self, channels: &[Channel]) {
        for channel in channels {
            if let Some(confirmed) = self.channels.get_mut(channel) {
                *confirmed = true;
            }
        }
    }

    /// The connection is gone: all that it had confirmed may miss messages from now on.
    pub(crate) fn lose(&mut self) {
        for (channel, confirmed) in &mut self.channels {
            if std::mem::take(confirmed) {
                self.missed.insert(Channel::clone(channel));
            }
        }
    }

    /// What the next gap must name.
    pub(crate) fn take_missed(&mut self) -> Vec<Channel> {
        self.missed.drain().collect()
    }

    /// All that is wanted.
    pub(crate) fn all(&self) -> Vec<Channel> {
        self.channels.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn a_loss_is_of_what_was_confirmed() {
        let mut wanted = Wanted::default();
        assert_eq!(wanted.add(&channels(&["a", "b", "a"])).len(), 3);
        wanted.confirm(&channels(&["a", "removed meanwhile"]));
        assert_eq!(wanted.add(&channels(&["a", "b"])), channels(&["b"]));
        wanted.lose();
        wanted.lose();
        assert_eq!(wanted.take_missed(), channels(&["a"]));
        assert_eq!(wanted.take_missed(), channels(&[]));
        assert_eq!(wanted.remove(&channels(&["b", "c"])), channels(&["b"]));
        assert!(wanted.get("a").is_some() && wanted.get("b").is_none());
        assert_eq!(wanted.all(), channels(&["a"]));
    }
}
