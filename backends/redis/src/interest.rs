//! The channels that this instance needs, and which of them Redis has confirmed on the connection
//! in use.
//!
//! It outlives connections: what is wanted is subscribed again on the next one, and what was
//! confirmed on a lost one is named in the gap. Shared by the hub's calls, the subscriber and the
//! outlet; it knows no connection and sends nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hubplane_backplane::Channel;

/// The interest of one instance, behind its lock.
#[derive(Debug, Default)]
pub(crate) struct Interest(Mutex<Wanted>);

/// What is wanted now.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Each wanted channel, and whether Redis has confirmed it on the connection in use.
    channels: HashMap<Channel, bool>,
    /// Channels that were confirmed on a connection that was lost, and that no gap has named yet. A
    /// channel stays here when it is unsubscribed: somebody may have been listening at the time of
    /// the loss.
    missed: HashSet<Channel>,
}

impl Interest {
    /// Locks the interest. Hold the lock for look-ups only, never across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// Returns the channel's shared name if it is wanted, so that a message costs no copy of it.
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

    /// Notes that Redis has confirmed these channels. Those that are no longer wanted are passed
    /// over.
    pub(crate) fn confirm(&mut self, channels: &[Channel]) {
        for channel in channels {
            if let Some(confirmed) = self.channels.get_mut(channel) {
                *confirmed = true;
            }
        }
    }

    /// Notes that the connection is gone: every channel that it had confirmed may miss messages
    /// from now on.
    pub(crate) fn lose(&mut self) {
        for (channel, confirmed) in &mut self.channels {
            if std::mem::take(confirmed) {
                self.missed.insert(Channel::clone(channel));
            }
        }
    }

    /// Returns the channels that the next gap must name, and forgets them.
    pub(crate) fn take_missed(&mut self) -> Vec<Channel> {
        self.missed.drain().collect()
    }

    /// Returns all channels that are wanted, confirmed or not.
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
