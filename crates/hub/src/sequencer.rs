//! The sender's side of the numbers: each hub process is an origin and counts what it publishes, so
//! that receivers see a hole that the broker doesn't tell of. Pure; the time comes in.
//!
//! In a lane no number is ever given out twice, and none is skipped without a beacon that stands for
//! it. The receiver's side is `gap_detector.rs`.

mod tails;

use std::time::{Duration, Instant};

use hubplane_backplane::{Backplane, Channel, Origin};

use self::tails::Tails;
use super::map::HashMap;

/// How long a channel's count is kept where each channel has its own. After that it begins at 1
/// again.
const KEEP: Duration = Duration::from_secs(600);
/// How long it is kept once more than half of the counts that are allowed are in use. Receivers
/// take a low number for a new count after 30 s of silence and no earlier, so this must stay
/// longer.
const KEEP_MANY: Duration = Duration::from_secs(60);

/// What one count runs through: something of which an instance receives everything, if it receives
/// any of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sequence {
    /// A lane of the log, or all that a broker without a log carries.
    Lane(u32),
    /// One channel, where the broker routes by interest.
    Channel(Channel),
}

impl Sequence {
    /// Returns the sequence that a channel's messages are counted in. `routed` says that the broker
    /// routes by interest.
    pub(super) fn of(backplane: &dyn Backplane, routed: bool, channel: &Channel) -> Self {
        match routed {
            true => Self::Channel(Channel::clone(channel)),
            false => Self::Lane(backplane.lane(channel).unwrap_or_default()),
        }
    }
}

/// The counts of this process, one for each sequence.
#[derive(Debug)]
pub(super) struct Sequencer {
    origin: u128,
    /// The most counts. What was published last is not forgotten to make room: its receivers would
    /// take the next numbers for repetitions.
    most: usize,
    counts: HashMap<Sequence, Count>,
    tails: Tails,
}

#[derive(Debug)]
struct Count {
    /// The last number given out.
    last: u64,
    /// The first number that nothing may stand for at the broker, because its publication was given
    /// up.
    open: Option<u64>,
    used: Instant,
    /// How often beacons have told the last number. `None` if it waits for no beacon any more.
    told: Option<u8>,
}

impl Sequencer {
    /// No counts yet. `origin` names this process, and `most` limits the counts at once.
    pub(super) fn new(origin: u128, most: usize) -> Self {
        Self {
            origin,
            most,
            counts: HashMap::default(),
            tails: Tails::default(),
        }
    }

    /// Returns true if a message of this sequence can be numbered. It can't if there are too many
    /// other channels; the hub's own messages always can.
    pub(super) fn has_room(&self, sequence: &Sequence) -> bool {
        let reserved = matches!(sequence, Sequence::Channel(channel) if channel.starts_with('$'));
        reserved || self.counts.len() < self.most || self.counts.contains_key(sequence)
    }

    /// Returns the next number of a sequence.
    ///
    /// A lane that is used for the first time begins behind all other lanes' numbers, and a beacon
    /// stands for those that it passes over. While lanes are being added, a message with another
    /// lane's number may get into this one first, and a lower number behind it would look like a
    /// repetition.
    pub(super) fn next(&mut self, sequence: &Sequence, now: Instant) -> Origin {
        let highest = match (sequence, self.counts.contains_key(sequence)) {
            (Sequence::Lane(_), false) => self.highest(),
            _ => 0,
        };
        let fresh = || Count {
            last: highest,
            open: (highest > 0).then_some(1),
            used: now,
            told: None,
        };
        let count = match self.counts.get_mut(sequence) {
            Some(count) => count,
            None => self.counts.entry(sequence.clone()).or_insert_with(fresh),
        };
        count.last += 1;
        count.used = now;
        // Only channels wait for a beacon to tell their last number; a lane's own beacon carries
        // it.
        if let Sequence::Channel(channel) = sequence {
            let waits = count.told.replace(0).is_some();
            if !waits && !channel.starts_with('$') {
                self.tails.wait(channel);
            }
        }
        Origin {
            id: self.origin,
            number: count.last,
        }
    }

    /// Returns the highest number that any lane has given out.
    fn highest(&self) -> u64 {
        let lanes = self
            .counts
            .iter()
            .filter(|it| matches!(it.0, Sequence::Lane(_)));
        lanes.map(|(_, count)| count.last).max().unwrap_or_default()
    }

    /// Lets all lanes go on behind the highest number, because channels fall into other lanes than
    /// before. See [`Self::next`].
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

    /// Notes that nothing may stand for this number at the broker: a beacon must, before anything
    /// else of its lane. A channel that counts for itself carries no beacons; there the hole is
    /// seen and announced, since the message may be lost.
    pub(super) fn give_up(&mut self, sequence: &Sequence, number: u64) {
        if let (Sequence::Lane(_), Some(count)) = (sequence, self.counts.get_mut(sequence)) {
            count.open = Some(count.open.map_or(number, |open| open.min(number)));
        }
    }

    /// Returns the number from which on a beacon must stand for all, `None` if no number is open.
    pub(super) fn open(&self, sequence: &Sequence) -> Option<u64> {
        self.counts.get(sequence)?.open
    }

    /// Notes that a beacon stands for the open numbers now.
    pub(super) fn close(&mut self, sequence: &Sequence) {
        if let Some(count) = self.counts.get_mut(sequence) {
            count.open = None;
        }
    }

    /// Returns the last numbers of channels that have been quiet for a second, for a beacon: at
    /// most `most`, those that have waited longest first. Empty if there are none to be told.
    pub(super) fn tails(&mut self, now: Instant, most: usize) -> Vec<(Channel, u64)> {
        let counts = &mut self.counts;
        self.tails.take(most, |channel| {
            let count = counts.get_mut(&Sequence::Channel(Channel::clone(channel)));
            count.map_or(tails::Turn::Gone, |count| count.turn(now))
        })
    }

    /// Forgets the counts of channels that have been quiet for long and whose last number was told
    /// often enough. Lanes' counts are never forgotten.
    pub(super) fn sweep(&mut self, now: Instant) {
        let keep = match self.counts.len() > self.most / 2 {
            true => KEEP_MANY,
            false => KEEP,
        };
        while let Some(channel) = self.tails.quiet_since(now, keep) {
            let sequence = Sequence::Channel(channel);
            let quiet = |count: &Count| now.saturating_duration_since(count.used) >= keep;
            if self.counts.get(&sequence).is_some_and(quiet) {
                self.counts.remove(&sequence);
            }
        }
    }
}

impl Count {
    /// Decides what a beacon is to say of this channel, and counts it as told.
    fn turn(&mut self, now: Instant) -> tails::Turn {
        if now.saturating_duration_since(self.used) < tails::QUIET {
            return tails::Turn::Busy;
        }
        let told = self.told.map_or(tails::TELLS, |told| told + 1);
        let last = told >= tails::TELLS;
        self.told = (!last).then_some(told);
        tails::Turn::Tell {
            number: self.last,
            last: last.then_some(self.used),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_counts_for_itself_from_one() {
        let mut sequencer = Sequencer::new(7, 1_000);
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
        let (mut sequencer, now) = (Sequencer::new(7, 1_000), Instant::now());
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
        let mut sequencer = Sequencer::new(7, 1_000);
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

    fn channel(name: &str) -> Sequence {
        Sequence::Channel(name.into())
    }

    /// Takes what beacons tell, one a second.
    fn beacons(sequencer: &mut Sequencer, mut now: Instant, count: usize) -> Vec<(Channel, u64)> {
        let mut told = Vec::new();
        for _ in 0..count {
            now += Duration::from_secs(1);
            told.extend(sequencer.tails(now, 1));
        }
        told
    }

    #[test]
    fn quiet_channels_are_forgotten_and_lanes_are_not() {
        let mut sequencer = Sequencer::new(7, 1_000);
        let now = Instant::now();
        let (lane, quiet) = (Sequence::Lane(0), channel("c"));
        sequencer.next(&lane, now);
        sequencer.next(&quiet, now);
        beacons(&mut sequencer, now, 5);
        sequencer.sweep(now + KEEP);
        let later = now + KEEP;
        assert_eq!(sequencer.next(&lane, later).number, 2);
        assert_eq!(sequencer.next(&quiet, later).number, 1);
    }

    #[test]
    fn each_channels_tail_is_told_however_many_there_are() {
        let mut sequencer = Sequencer::new(7, 1_000);
        let now = Instant::now();
        for name in ["a", "b", "c"] {
            sequencer.next(&channel(name), now);
        }
        sequencer.next(&channel("$hubplane/presence"), now);
        let told = beacons(&mut sequencer, now, 20);
        assert_eq!(told.len(), 9, "each three times");
        let first: Vec<_> = told[..3].iter().map(|(channel, _)| &**channel).collect();
        assert_eq!(first, ["a", "b", "c"]);
        // One that goes on is told again, with its new number.
        sequencer.next(&channel("a"), now);
        let again = beacons(&mut sequencer, now, 20);
        assert_eq!(again, vec![("a".into(), 2); 3]);
    }

    #[test]
    fn the_counts_are_bounded_and_none_is_forgotten_too_soon() {
        let mut sequencer = Sequencer::new(7, 3);
        let now = Instant::now();
        for name in ["a", "b", "c"] {
            assert!(sequencer.has_room(&channel(name)));
            sequencer.next(&channel(name), now);
        }
        beacons(&mut sequencer, now, 20);
        sequencer.sweep(now + KEEP_MANY / 2);
        assert!(!sequencer.has_room(&channel("d")) && sequencer.has_room(&channel("a")));
        let used = now + KEEP_MANY / 2;
        assert_eq!(sequencer.next(&channel("a"), used).number, 2);
        sequencer.sweep(now + KEEP_MANY);
        assert!(sequencer.has_room(&channel("d")));
        assert_eq!(sequencer.next(&channel("a"), now + KEEP_MANY).number, 3);
    }
}
