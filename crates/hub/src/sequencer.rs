//! Sequencer, the sender's side: each hub process is an origin and counts what it publishes, so that receivers see a
//! hole that the broker doesn't tell of.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use hubplane_backplane::{Backplane, Channel, Origin};

use super::sabotage;

/// How long a channel's count is kept where each channel has its own; after that it begins at 1 again.
const KEEP: Duration = Duration::from_secs(600);
/// As [`KEEP`], once there are more than [`MANY`].
const KEEP_MANY: Duration = Duration::from_secs(60);
/// Channels with a count of their own before the quiet ones are forgotten sooner.
const MANY: usize = 100_000;

/// What one count runs through: what an instance receives whole, if it receives any of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sequence {
    /// A lane of the log, or all that a broker without a log carries.
    Lane(u32),
    /// One channel, where the broker routes by interest.
    Channel(Channel),
}

impl Sequence {
    /// The run that a channel's messages are counted in.
    pub(super) fn of(backplane: &dyn Backplane, routed: bool, channel: &Channel) -> Self {
        match routed {
            true => Self::Channel(Channel::clone(channel)),
            false => Self::Lane(backplane.lane(channel).unwrap_or_default()),
        }
    }
}

/// The counts of this process.
#[derive(Debug)]
pub(super) struct Sequencer {
    origin: u128,
    counts: HashMap<Sequence, Count>,
}

#[derive(Debug)]
struct Count {
    /// The last number given out.
    last: u64,
    /// The first number that nothing stands for at the broker, as far as is known: its publication was given up.
    open: Option<u64>,
    used: Instant,
}

impl Sequencer {
    pub(super) fn new(origin: u128) -> Self {
        Self {
            origin,
            counts: HashMap::new(),
        }
    }

    /// The next number of a sequence.
    ///
    /// A lane that is used for the first time begins behind all other lanes' numbers, and a beacon stands for those that it
    /// passes over: while lanes are being added, a message with another lane's number may get there first, and a lower
    /// one would look like a repetition.
    pub(super) fn next(&mut self, sequence: &Sequence, now: Instant) -> Origin {
        let highest = match (sequence, self.counts.contains_key(sequence)) {
            (Sequence::Lane(_), false) => self.highest(),
            _ => 0,
        };
        let fresh = || Count {
            last: highest,
            open: (highest > 0).then_some(1),
            used: now,
        };
        let count = match self.counts.get_mut(sequence) {
            Some(count) => count,
            None => self.counts.entry(sequence.clone()).or_insert_with(fresh),
        };
        count.last += 1;
        if sabotage::restarts_numbers() {
            count.last = 1;
        }
        count.used = now;
        Origin {
            id: self.origin,
            number: count.last,
        }
    }

    fn highest(&self) -> u64 {
        let lanes = self
            .counts
            .iter()
            .filter(|it| matches!(it.0, Sequence::Lane(_)));
        lanes.map(|(_, count)| count.last).max().unwrap_or_default()
    }

    /// Channels fall into other lanes than before: all lanes go on behind the highest number, see [`Self::next`].
    pub(super) fn level_lanes(&mut self) {
        let highest = self.highest();
        for (sequence, count) in &mut self.counts {
            if matches!(sequence, Sequence::Lane(_)) && count.last < highest {
                let first = count.last + 1;
                count.open = Some(count.open.map_or(first, |open| open.min(first)));
                count.last = highest;
            }
        }
    }

    /// Nothing may stand for this number at the broker: a beacon must, before anything else of its lane. A channel that
    /// counts for itself carries no beacons; there the hole is seen, and announced.
    pub(super) fn give_up(&mut self, sequence: &Sequence, number: u64) {
        if let (Sequence::Lane(_), Some(count)) = (sequence, self.counts.get_mut(sequence)) {
            count.open = Some(count.open.map_or(number, |open| open.min(number)));
        }
    }

    /// From which number on a beacon must stand for all, if so.
    pub(super) fn open(&self, sequence: &Sequence) -> Option<u64> {
        self.counts.get(sequence)?.open
    }

    /// A beacon stands for the open numbers.
    pub(super) fn close(&mut self, sequence: &Sequence) {
        if let Some(count) = self.counts.get_mut(sequence) {
            count.open = None;
        }
    }

    /// The last numbers of the channels that had a message between `ago` and a second before, at most `most`.
    pub(super) fn tails(&self, now: Instant, ago: Duration, most: usize) -> Vec<(Channel, u64)> {
        let recent = self
            .counts
            .iter()
            .filter_map(|(sequence, count)| match sequence {
                Sequence::Channel(channel) if !channel.starts_with('$') => {
                    let age = now.saturating_duration_since(count.used);
                    (age >= Duration::from_secs(1) && age <= ago)
                        .then(|| (Channel::clone(channel), count.last))
                }
                _ => None,
            });
        recent.take(most).collect()
    }

    /// Forgets the channels that have been quiet for long.
    pub(super) fn sweep(&mut self, now: Instant) {
        let keep = match self.counts.len() > MANY {
            true => KEEP_MANY,
            false => KEEP,
        };
        self.counts.retain(|sequence, count| {
            matches!(sequence, Sequence::Lane(_))
                || now.saturating_duration_since(count.used) < keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_counts_for_itself_from_one() {
        let mut sequencer = Sequencer::new(7);
        let now = Instant::now();
        let (a, b) = (Sequence::Lane(0), Sequence::Channel("c".into()));
        let taken: Vec<_> = [&a, &b, &a]
            .iter()
            .map(|sequence| sequencer.next(sequence, now).number)
            .collect();
        assert_eq!(taken, [1, 1, 2]);
    }

    #[test]
    fn no_lane_goes_on_below_another_while_lanes_are_added() {
        let (mut sequencer, now) = (Sequencer::new(7), Instant::now());
        let (old, other, new) = (Sequence::Lane(0), Sequence::Lane(1), Sequence::Lane(2));
        sequencer.next(&other, now);
        for _ in 0..9 {
            sequencer.next(&old, now);
        }
        sequencer.close(&old);
        assert_eq!(sequencer.next(&new, now).number, 11);
        assert_eq!(sequencer.open(&new), Some(1));
        sequencer.level_lanes();
        assert_eq!(sequencer.open(&other), Some(2));
        assert_eq!(sequencer.next(&other, now).number, 12);
    }

    #[test]
    fn the_smallest_open_number_is_kept_until_a_beacon_stands_for_it() {
        let mut sequencer = Sequencer::new(7);
        let sequence = Sequence::Lane(0);
        for _ in 0..3 {
            sequencer.next(&sequence, Instant::now());
        }
        sequencer.give_up(&sequence, 3);
        sequencer.give_up(&sequence, 2);
        assert_eq!(sequencer.open(&sequence), Some(2));
        sequencer.close(&sequence);
        assert_eq!(sequencer.open(&sequence), None);
    }

    #[test]
    fn quiet_channels_are_forgotten_and_lanes_are_not() {
        let mut sequencer = Sequencer::new(7);
        let now = Instant::now();
        let (lane, channel) = (Sequence::Lane(0), Sequence::Channel("c".into()));
        sequencer.next(&lane, now);
        sequencer.next(&channel, now);
        sequencer.sweep(now + KEEP);
        let later = now + KEEP;
        assert_eq!(sequencer.next(&lane, later).number, 2);
        assert_eq!(sequencer.next(&channel, later).number, 1);
    }
}
