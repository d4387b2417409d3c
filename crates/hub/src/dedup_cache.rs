//! Remembers which message ids were here already: a publish that was tried again, through whichever
//! instance, reaches each client once. Pure; the time comes in.
//!
//! An id counts within its channel and for its publisher alone. Bounded by time and by number, so a repetition that comes very
//! late is delivered again; the hash is keyed at random, so nobody can make ids collide on purpose.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    time::{Duration, Instant},
};

use super::{map::HashMap, message::Message, position::ClientPosition, publisher_scope};

/// The ids of the last minutes, in a young and an old half, by a 128-bit hash of channel, id and publisher:
/// about 100 bytes each.
#[derive(Debug)]
pub(super) struct DedupCache {
    keep: Duration,
    /// The most ids of one half. With more, the older half is forgotten before its time.
    most: usize,
    hashers: (RandomState, RandomState),
    young: HashMap<u128, Place>,
    old: HashMap<u128, Place>,
    turned: Instant,
}

/// Where a message is in its log, in as few bytes as that takes.
#[derive(Clone, Copy, Debug)]
struct Place {
    epoch: u64,
    /// `None` if the broker has no log.
    lane: Option<u32>,
    offset: u128,
}

impl Place {
    fn of(position: Option<ClientPosition>) -> Self {
        Self {
            epoch: position.map_or(0, |it| it.epoch),
            lane: position.map(|it| it.lane),
            offset: position.map_or(0, |it| it.offset),
        }
    }

    /// Returns true if this place is surely behind the other.
    fn is_after(&self, other: &Self) -> bool {
        let same = self.epoch == other.epoch && self.lane == other.lane;
        same && self.lane.is_some() && self.offset > other.offset
    }
}

impl DedupCache {
    /// Remembers each id for `keep` at least, or until half of `most` others have come.
    pub(super) fn new(keep: Duration, most: usize, now: Instant) -> Self {
        Self {
            keep,
            most: (most / 2).max(1),
            hashers: (RandomState::new(), RandomState::new()),
            young: HashMap::default(),
            old: HashMap::default(),
            turned: now,
        }
    }

    /// Returns true if a message with this id was here before this one, and takes note of it. A
    /// message without an id is always new.
    pub(super) fn is_repeated(&mut self, message: &Message, now: Instant) -> bool {
        let Some(id) = &message.id else {
            return false;
        };
        // Forgetting a whole half costs nothing for each id.
        if now.saturating_duration_since(self.turned) >= self.keep || self.young.len() >= self.most
        {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        let key = self.key(message, id);
        if self.old.contains_key(&key) || self.young.contains_key(&key) {
            return true;
        }
        self.young.insert(key, Place::of(message.position));
        false
    }

    /// Returns true if a message that is read back from the log repeats an earlier one. Takes no
    /// note of it: what is read back was here before.
    pub(super) fn repeats_earlier(&self, message: &Message) -> bool {
        let Some(id) = &message.id else {
            return false;
        };
        let key = self.key(message, id);
        let first = self.old.get(&key).or_else(|| self.young.get(&key));
        first.is_some_and(|first| Place::of(message.position).is_after(first))
    }

    /// Returns the hash that stands for a channel, an id and whose it is together.
    fn key(&self, message: &Message, id: &str) -> u128 {
        let all = (&*message.channel, id, publisher_scope::of(&message.tags));
        let high = self.hashers.0.hash_one(all);
        (u128::from(high) << 64) | u128::from(self.hashers.1.hash_one(all))
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
        let mut cache = DedupCache::new(Duration::from_secs(300), 1_000, now);
        let (first, second) = (message("c", Some("i"), 1), message("c", Some("i"), 2));
        assert!(!cache.is_repeated(&first, now));
        assert!(cache.is_repeated(&second, now));
        assert!(!cache.is_repeated(&message("d", Some("i"), 3), now));
        assert!(!cache.is_repeated(&message("c", None, 4), now));
        assert!(!cache.is_repeated(&message("c", None, 5), now));
        assert!(!cache.repeats_earlier(&first) && cache.repeats_earlier(&second));
    }

    #[test]
    fn nobody_silences_another_by_guessing_an_id() {
        let now = Instant::now();
        let mut cache = DedupCache::new(Duration::from_secs(300), 1_000, now);
        let by = |scope: &str| Message {
            tags: vec![("hubplane-by".into(), scope.into())],
            ..message("c", Some("req-7"), 1)
        };
        assert!(!cache.is_repeated(&by("ann"), now));
        assert!(!cache.is_repeated(&by("bob"), now));
        assert!(!cache.is_repeated(&message("c", Some("req-7"), 1), now));
        assert!(cache.is_repeated(&by("bob"), now));
    }

    #[test]
    fn an_id_is_kept_for_its_time_and_not_for_ever() {
        let now = Instant::now();
        let keep = Duration::from_secs(300);
        let mut cache = DedupCache::new(keep, 1_000, now);
        let message = |id| message("c", Some(id), 1);
        cache.is_repeated(&message("i"), now);
        cache.is_repeated(&message("j"), now + keep);
        assert!(cache.is_repeated(&message("i"), now + keep));
        cache.is_repeated(&message("k"), now + 2 * keep);
        assert!(!cache.is_repeated(&message("i"), now + 2 * keep));
    }

    #[test]
    fn ids_are_bounded_and_half_of_the_bound_is_sure_to_be_remembered() {
        let now = Instant::now();
        let mut cache = DedupCache::new(Duration::from_secs(300), 100, now);
        for number in 0..1_000_u32 {
            let id = |number: u32| message("c", Some(&number.to_string()), 1);
            assert!(!cache.is_repeated(&id(number), now));
            assert!(cache.is_repeated(&id(number.saturating_sub(49)), now));
            assert!(cache.young.len() + cache.old.len() <= 100);
        }
    }
}
