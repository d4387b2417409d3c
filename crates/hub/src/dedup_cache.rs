//! Which message ids were here already: a publish that was tried again, through whichever instance, reaches each
//! client once. Pure; the time comes in.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    time::{Duration, Instant},
};

use super::{message::Message, position::ClientPosition};

/// DedupCache of one generation; with more, the older generation is forgotten before its time.
const MOST: usize = 500_000;

/// The ids of the last minutes, in two generations, by a 128-bit hash of channel and id.
#[derive(Debug)]
pub(super) struct DedupCache {
    keep: Duration,
    hashers: (RandomState, RandomState),
    young: HashMap<u128, Option<ClientPosition>>,
    old: HashMap<u128, Option<ClientPosition>>,
    turned: Instant,
}

impl DedupCache {
    /// Remembers each for `keep` at least.
    pub(super) fn new(keep: Duration, now: Instant) -> Self {
        Self {
            keep,
            hashers: (RandomState::new(), RandomState::new()),
            young: HashMap::new(),
            old: HashMap::new(),
            turned: now,
        }
    }

    /// Whether a message with this id was here before this one; takes note of it. One without an id is always new.
    pub(super) fn is_repeated(&mut self, message: &Message, now: Instant) -> bool {
        let Some(id) = &message.id else {
            return false;
        };
        if now.saturating_duration_since(self.turned) >= self.keep || self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        let key = self.key(&message.channel, id);
        if self.old.contains_key(&key) || self.young.contains_key(&key) {
            return true;
        }
        self.young.insert(key, message.position);
        false
    }

    /// Whether a message that is read back repeats an earlier one.
    pub(super) fn repeats_earlier(&self, message: &Message) -> bool {
        let Some(id) = &message.id else {
            return false;
        };
        let key = self.key(&message.channel, id);
        let first = self.old.get(&key).or_else(|| self.young.get(&key));
        match (first, message.position) {
            (Some(Some(first)), Some(this)) => this.is_after(first) == Some(true),
            _ => false,
        }
    }

    fn key(&self, channel: &str, id: &str) -> u128 {
        let pair = (channel, id);
        let high = self.hashers.0.hash_one(pair);
        (u128::from(high) << 64) | u128::from(self.hashers.1.hash_one(pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, id: Option<&str>, offset: u128) -> Message {
        Message {
            channel: channel.into(),
            data: "x".into(),
            position: Some(ClientPosition {
                epoch: 1,
                lane: 0,
                offset,
                fingerprint: None,
            }),
            id: id.map(Into::into),
            origin: None,
            tags: Vec::new(),
        }
    }

    #[test]
    fn an_id_is_new_once_in_each_channel() {
        let now = Instant::now();
        let mut cache = DedupCache::new(Duration::from_secs(300), now);
        let (first, second) = (message("c", Some("i"), 1), message("c", Some("i"), 2));
        assert!(!cache.is_repeated(&first, now));
        assert!(cache.is_repeated(&second, now));
        assert!(!cache.is_repeated(&message("d", Some("i"), 3), now));
        assert!(!cache.is_repeated(&message("c", None, 4), now));
        assert!(!cache.is_repeated(&message("c", None, 5), now));
        assert!(!cache.repeats_earlier(&first) && cache.repeats_earlier(&second));
    }

    #[test]
    fn an_id_is_kept_for_its_time_and_not_for_ever() {
        let now = Instant::now();
        let keep = Duration::from_secs(300);
        let mut cache = DedupCache::new(keep, now);
        let message = |id| message("c", Some(id), 1);
        cache.is_repeated(&message("i"), now);
        cache.is_repeated(&message("j"), now + keep);
        assert!(cache.is_repeated(&message("i"), now + keep));
        cache.is_repeated(&message("k"), now + 2 * keep);
        assert!(!cache.is_repeated(&message("i"), now + 2 * keep));
    }
}
