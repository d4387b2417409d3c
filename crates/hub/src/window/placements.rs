//! Remembers channels whose messages were seen in another lane than their own: another program
//! publishes them with a partitioner of its own, with old metadata, or straight into another
//! stream. Pure; the time comes in.
//!
//! A client's position is one place in one lane. So such a channel can be recovered only where all
//! its recent messages are in one lane; in doubt, every answer here is the careful one.

use std::time::{Duration, Instant};

use hubplane_backplane::Channel;

use crate::map::HashMap;

/// Which lanes such channels were seen in. Channels that were always in their own lane are not
/// here.
#[derive(Debug)]
pub(crate) struct Placements {
    most: usize,
    channels: HashMap<Channel, Vec<Seen>>,
    /// More channels came than are remembered, so none of the unknown ones can be trusted.
    full: bool,
    /// This hub has seen a message in a foreign lane since it started.
    seen: bool,
    /// Another hub says that it has seen one.
    heard: bool,
}

#[derive(Debug)]
struct Seen {
    lane: u32,
    at: Instant,
}

impl Placements {
    /// Remembers up to `most` channels.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            channels: HashMap::default(),
            full: false,
            seen: false,
            heard: false,
        }
    }

    /// Notes that a message of the channel was in this lane. `own` is the channel's own lane, and
    /// `holds_own` says whether the window has messages of it there.
    pub(crate) fn note(
        &mut self,
        channel: &Channel,
        (lane, own): (u32, u32),
        now: Instant,
        holds_own: impl FnOnce() -> bool,
    ) {
        // The usual case: nothing was ever in a foreign lane.
        if lane == own && self.channels.is_empty() {
            return;
        }
        if let Some(lanes) = self.channels.get_mut(channel) {
            match lanes.iter_mut().find(|seen| seen.lane == lane) {
                Some(seen) => seen.at = now,
                None => lanes.push(Seen { lane, at: now }),
            }
            return;
        }
        if lane == own {
            return;
        }
        self.seen = true;
        if self.channels.len() >= self.most {
            self.full = true;
            return;
        }
        let mut lanes = vec![Seen { lane, at: now }];
        if holds_own() {
            lanes.push(Seen { lane: own, at: now });
        }
        self.channels.insert(Channel::clone(channel), lanes);
    }

    /// Returns the lane in which the channel's last message was.
    pub(crate) fn lane(&self, channel: &str, own: u32) -> u32 {
        let lanes = self.channels.get(channel).into_iter().flatten();
        let last = lanes.max_by_key(|seen| seen.at);
        last.map_or(own, |seen| seen.lane)
    }

    /// Returns true if no other lane than this one can have messages of the channel that a client
    /// has not seen.
    pub(crate) fn is_alone(&self, channel: &str, lane: u32) -> bool {
        match self.channels.get(channel) {
            Some(lanes) => lanes.iter().all(|seen| seen.lane == lane),
            None => !self.full,
        }
    }

    /// Returns true if a loss in this lane may concern the channel, beside those in its own lane.
    pub(crate) fn may_be_in(&self, channel: &str, lane: u32) -> bool {
        match self.channels.get(channel) {
            Some(lanes) => lanes.iter().any(|seen| seen.lane == lane),
            None => self.full,
        }
    }

    /// Returns true if a message was in a foreign lane, whatever its channel.
    pub(crate) const fn has_foreign(&self) -> bool {
        self.seen || self.heard
    }

    /// Returns true if this hub itself has seen one. Only that is told to others: if each passed on
    /// what it heard, the word would never end.
    pub(crate) const fn has_seen_foreign(&self) -> bool {
        self.seen
    }

    /// Notes that another hub has seen a message in a foreign lane.
    pub(crate) const fn hear_of_foreign(&mut self) {
        self.heard = true;
    }

    /// Forgets lanes in which a channel had nothing for `keep`.
    pub(crate) fn sweep(&mut self, now: Instant, keep: Duration) {
        self.channels.retain(|_, lanes| {
            lanes.retain(|seen| now.saturating_duration_since(seen.at) <= keep);
            !lanes.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_in_its_own_lane_costs_nothing() {
        let (mut placements, now) = (Placements::new(10), Instant::now());
        placements.note(&"c".into(), (3, 3), now, || false);
        assert!(placements.channels.is_empty() && !placements.has_foreign());
        assert!(placements.is_alone("c", 3) && !placements.may_be_in("c", 5));
        assert_eq!(placements.lane("c", 3), 3);
    }

    #[test]
    fn a_channel_in_one_foreign_lane_has_its_place_there() {
        let (mut placements, now) = (Placements::new(10), Instant::now());
        placements.note(&"c".into(), (5, 3), now, || false);
        assert_eq!(placements.lane("c", 3), 5);
        assert!(placements.is_alone("c", 5) && !placements.is_alone("c", 3));
        assert!(placements.may_be_in("c", 5) && placements.has_foreign());
    }

    #[test]
    fn two_lanes_are_one_again_after_a_while() {
        let (mut placements, start) = (Placements::new(10), Instant::now());
        let keep = Duration::from_secs(600);
        placements.note(&"c".into(), (5, 3), start, || true);
        assert!(!placements.is_alone("c", 5) && !placements.is_alone("c", 3));
        let later = start + keep + Duration::from_secs(1);
        placements.note(&"c".into(), (3, 3), later, || true);
        placements.sweep(later, keep);
        assert!(placements.is_alone("c", 3));
    }

    #[test]
    fn channels_beyond_the_limit_are_not_trusted() {
        let (mut placements, now) = (Placements::new(1), Instant::now());
        placements.note(&"a".into(), (5, 3), now, || false);
        placements.note(&"b".into(), (5, 3), now, || false);
        assert!(!placements.is_alone("b", 5) && placements.may_be_in("b", 7));
        assert!(placements.is_alone("a", 5));
    }
}
