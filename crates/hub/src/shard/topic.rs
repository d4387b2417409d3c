//! The channels of one shard, and who subscribes to each.
//!
//! A subscription knows its place in its channel's list, and the list knows its place in the session's. So leaving a
//! channel costs the same however many subscribe to it.

use std::ops::{Index, IndexMut};

use hubplane_backplane::Channel;
use slab::Slab;

use crate::map::HashMap;

/// Where a subscription is: its session, and its place in the session's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) session: u32,
    pub(super) at: u32,
}

/// One channel on this shard.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) channel: Channel,
    /// The broker has confirmed the interest.
    pub(super) ready: bool,
    /// How many receive the channel's messages: the first so many of `subscribers`. The others wait.
    live: u32,
    subscribers: Vec<Subscriber>,
}

impl Topic {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            ready: false,
            live: 0,
            subscribers: Vec::new(),
        }
    }

    /// Those who receive the channel's messages.
    pub(super) fn live(&self) -> &[Subscriber] {
        &self.subscribers[..self.live as usize]
    }

    /// Those who don't yet.
    pub(super) fn waiting(&self) -> &[Subscriber] {
        &self.subscribers[self.live as usize..]
    }

    pub(super) fn is_unused(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Adds one that waits. Returns its place.
    pub(super) fn add(&mut self, subscriber: Subscriber) -> u32 {
        self.subscribers.push(subscriber);
        to_u32(self.subscribers.len() - 1)
    }

    /// Lets one that waits receive messages. `moved` is told each new place, also that of others.
    pub(super) fn go_live(&mut self, place: u32, mut moved: impl FnMut(Subscriber, u32)) {
        let first_waiting = self.live;
        self.live += 1;
        self.subscribers
            .swap(place as usize, first_waiting as usize);
        for place in [place, first_waiting] {
            moved(self.subscribers[place as usize], place);
        }
    }

    /// Takes one out. `moved` is told the new places of others.
    pub(super) fn remove(&mut self, mut place: u32, mut moved: impl FnMut(Subscriber, u32)) {
        if place < self.live {
            // The last of those who are live takes the place, and leaves its own to one that waits.
            self.live -= 1;
            let last = self.subscribers[self.live as usize];
            if place != self.live {
                self.subscribers[place as usize] = last;
                moved(last, place);
            }
            place = self.live;
        }
        self.subscribers.swap_remove(place as usize);
        if let Some(&other) = self.subscribers.get(place as usize) {
            moved(other, place);
        }
    }

    /// The subscription at this place has another place in its session's list.
    pub(super) fn renumber(&mut self, place: u32, at: u32) {
        self.subscribers[place as usize].at = at;
    }
}

/// All channels that somebody here subscribes to, by name and by number.
#[derive(Debug, Default)]
pub(super) struct Topics {
    numbers: HashMap<Channel, u32>,
    topics: Slab<Topic>,
}

impl Topics {
    /// The channel's number, if somebody subscribes to it.
    pub(super) fn find(&self, channel: &str) -> Option<u32> {
        self.numbers.get(channel).copied()
    }

    pub(super) fn by_name(&self, channel: &str) -> Option<&Topic> {
        self.find(channel).map(|number| &self[number])
    }

    /// A channel that is not there yet. Returns its number.
    pub(super) fn add(&mut self, channel: Channel) -> u32 {
        let number = to_u32(self.topics.insert(Topic::new(Channel::clone(&channel))));
        self.numbers.insert(channel, number);
        number
    }

    /// Removes a channel, if nobody subscribes to it any more. Returns its name then.
    pub(super) fn remove_unused(&mut self, number: u32) -> Option<Channel> {
        if !self[number].is_unused() {
            return None;
        }
        let channel = self.topics.remove(number as usize).channel;
        self.numbers.remove(&channel);
        Some(channel)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().map(|(_, topic)| topic)
    }
}

impl Index<u32> for Topics {
    type Output = Topic;

    fn index(&self, number: u32) -> &Topic {
        &self.topics[number as usize]
    }
}

impl IndexMut<u32> for Topics {
    fn index_mut(&mut self, number: u32) -> &mut Topic {
        &mut self.topics[number as usize]
    }
}

fn to_u32(index: usize) -> u32 {
    u32::try_from(index).expect("invariant: sessions times subscriptions is below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every subscriber's place as it was told last, beside the list itself.
    #[test]
    fn everybody_knows_their_place_whoever_comes_and_goes() {
        let mut topic = Topic::new("c".into());
        let mut places: HashMap<u32, u32> = HashMap::default();
        let mut live = std::collections::HashSet::new();
        let mut random = 1_u32;
        for session in 0..2_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            places.insert(session, topic.add(Subscriber { session, at: 0 }));
            // An earlier one goes live, and another one leaves.
            let chosen = (random >> 8) % (session + 1);
            if let Some(&place) = places.get(&chosen)
                && live.insert(chosen)
            {
                topic.go_live(place, |other, place| {
                    places.insert(other.session, place);
                });
            }
            let leaves = (random >> 16) % (session + 1);
            if let Some(place) = places.remove(&leaves) {
                live.remove(&leaves);
                topic.remove(place, |other, place| {
                    places.insert(other.session, place);
                });
            }
            for (session, &place) in &places {
                assert_eq!(topic.subscribers[place as usize].session, *session);
            }
            assert_eq!(topic.subscribers.len(), places.len());
            let there: std::collections::HashSet<_> =
                topic.live().iter().map(|it| it.session).collect();
            assert_eq!(there, live);
        }
    }
}
