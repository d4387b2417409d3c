//! The channels of one shard, and who subscribes to each.
//!
//! A subscription knows its place in its channel's list, and the list knows its place in the
//! session's. So leaving a channel costs the same however many subscribe to it. The price: whoever
//! moves an entry tells the other list, through the `moved` callbacks here. This file knows no
//! session.

use std::ops::{Index, IndexMut};

use hubplane_backplane::Channel;
use slab::Slab;

use crate::map::HashMap;

/// Where a subscription is: its session's index, and its place in that session's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    /// The session's index on this shard.
    pub(super) session: u32,
    /// The place in the session's list of subscriptions.
    pub(super) at: u32,
}

/// One channel that somebody on this shard subscribes to.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) channel: Channel,
    /// True once the broker has confirmed the interest in it.
    pub(super) ready: bool,
    /// True if a subscription has had a rule or a rate. Deliveries of all others don't ask.
    pub(super) shaped: bool,
    /// How many receive the channel's messages: the first so many of `subscribers`. The others
    /// wait. One list with a border, so that a delivery walks one slice without asking each entry.
    live: u32,
    subscribers: Vec<Subscriber>,
}

impl Topic {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            ready: false,
            shaped: false,
            live: 0,
            subscribers: Vec::new(),
        }
    }

    /// Returns the subscriptions that receive the channel's messages.
    pub(super) fn live(&self) -> &[Subscriber] {
        &self.subscribers[..self.live as usize]
    }

    /// Returns the subscriptions that don't receive them yet.
    pub(super) fn waiting(&self) -> &[Subscriber] {
        &self.subscribers[self.live as usize..]
    }

    /// Returns true if nobody subscribes, so that the channel can be removed.
    pub(super) fn is_unused(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Adds a subscription that waits. Returns its place.
    pub(super) fn add(&mut self, subscriber: Subscriber) -> u32 {
        self.subscribers.push(subscriber);
        to_u32(self.subscribers.len() - 1)
    }

    /// Lets the waiting subscription at `place` receive messages. `moved` is told each new place,
    /// its own and that of the one it changed places with.
    pub(super) fn go_live(&mut self, place: u32, mut moved: impl FnMut(Subscriber, u32)) {
        let first_waiting = self.live;
        self.live += 1;
        self.subscribers
            .swap(place as usize, first_waiting as usize);
        for place in [place, first_waiting] {
            moved(self.subscribers[place as usize], place);
        }
    }

    /// Takes the subscription at `place` out. `moved` is told the new places of others.
    pub(super) fn remove(&mut self, mut place: u32, mut moved: impl FnMut(Subscriber, u32)) {
        if place < self.live {
            // The last live one takes the free place, and leaves its own to one that waits.
            self.live -= 1;
            let last = self.subscribers[self.live as usize];
            if place != self.live {
                self.subscribers[place as usize] = last;
                moved(last, place);
            }
            place = self.live;
        }
        // Now the free place is among those that wait, and their last one may take it.
        self.subscribers.swap_remove(place as usize);
        // If the removed one was the last itself, nobody has moved.
        if let Some(&other) = self.subscribers.get(place as usize) {
            moved(other, place);
        }
    }

    /// Notes that the subscription at this place has another place in its session's list.
    pub(super) fn renumber(&mut self, place: u32, at: u32) {
        self.subscribers[place as usize].at = at;
    }
}

/// All channels that somebody on this shard subscribes to, by name and by number. Numbers are used
/// again.
#[derive(Debug, Default)]
pub(super) struct Topics {
    numbers: HashMap<Channel, u32>,
    topics: Slab<Topic>,
}

impl Topics {
    /// Returns the channel's number, `None` if nobody here subscribes to it.
    pub(super) fn find(&self, channel: &str) -> Option<u32> {
        self.numbers.get(channel).copied()
    }

    /// Returns the channel, `None` if nobody here subscribes to it.
    pub(super) fn by_name(&self, channel: &str) -> Option<&Topic> {
        self.find(channel).map(|number| &self[number])
    }

    /// Adds a channel that is not there yet. Returns its number.
    pub(super) fn add(&mut self, channel: Channel) -> u32 {
        let number = to_u32(self.topics.insert(Topic::new(Channel::clone(&channel))));
        self.numbers.insert(channel, number);
        number
    }

    /// Removes a channel if nobody subscribes to it any more, and returns its name then.
    pub(super) fn remove_unused(&mut self, number: u32) -> Option<Channel> {
        if !self[number].is_unused() {
            return None;
        }
        let channel = self.topics.remove(number as usize).channel;
        self.numbers.remove(&channel);
        Some(channel)
    }

    /// Returns all channels, in no order.
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

/// Converts an index to the four bytes that the lists keep.
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
