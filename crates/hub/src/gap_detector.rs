//! Sequencer, the receiver's side: whether each origin's numbers are contiguous. Pure; the time comes in.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use hubplane_backplane::{Origin, Scope};

use super::sequencer::Sequence;

/// A number 1 after so long a silence is a channel's count that began anew, not a repetition.
const RESTART: Duration = Duration::from_secs(30);
/// Origins that were not heard of for so long are forgotten.
const KEEP: Duration = Duration::from_secs(900);
/// How much later than this instance's listening an origin must have started for its first numbers to be due here.
const MARGIN: Duration = Duration::from_secs(1);

/// What the numbers say of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new, and nothing is missing before it.
    Next,
    /// It was here already.
    Repeated,
    /// It is new, and these numbers, both included, did not come.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
}

/// What a beacon says besides its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// It stands for all numbers from this one on.
    pub(super) from: u64,
    /// How long its origin has been running.
    pub(super) up: Duration,
}

/// Whom this instance has heard.
#[derive(Debug, Default)]
pub(super) struct GapDetector {
    sequences: HashMap<Sequence, Heard>,
}

#[derive(Debug)]
struct Heard {
    /// Since when everything of the run arrives here.
    since: Instant,
    origins: HashMap<u128, Seen>,
}

#[derive(Debug)]
struct Seen {
    first: u64,
    last: u64,
    /// A loss was announced already: the next number may be any later one.
    loose: bool,
    at: Instant,
}

impl GapDetector {
    /// Judges one message, and takes note of it.
    pub(super) fn check(
        &mut self,
        sequence: &Sequence,
        origin: Origin,
        word: Option<Word>,
        now: Instant,
    ) -> Verdict {
        let heard = match self.sequences.get_mut(sequence) {
            Some(heard) => heard,
            None => self
                .sequences
                .entry(sequence.clone())
                .or_insert_with(|| Heard {
                    since: now,
                    origins: HashMap::new(),
                }),
        };
        let number = origin.number;
        let from = word.map_or(number, |word| word.from.min(number));
        let Some(seen) = heard.origins.get_mut(&origin.id) else {
            let first = from.max(1);
            heard
                .origins
                .insert(origin.id, Seen::new(first, number, now));
            return heard.due(origin.id, word, now).unwrap_or(Verdict::Next);
        };
        let anew = matches!(sequence, Sequence::Channel(_))
            && number == 1
            && now.saturating_duration_since(seen.at) >= RESTART;
        if anew {
            *seen = Seen::new(1, 1, now);
            return Verdict::Next;
        }
        seen.at = now;
        if number <= seen.last {
            return Verdict::Repeated;
        }
        let expected = seen.last + 1;
        let loose = std::mem::take(&mut seen.loose);
        seen.last = number;
        if from > expected && !loose {
            return Verdict::Missing {
                from: expected,
                to: from - 1,
            };
        }
        heard.due(origin.id, word, now).unwrap_or(Verdict::Next)
    }

    /// The last number of an origin in a channel's run, as its beacon tells it: `true` where that is more than what
    /// arrived here.
    pub(super) fn is_short(&mut self, sequence: &Sequence, origin: u128, last: u64) -> bool {
        let seen = self
            .sequences
            .get_mut(sequence)
            .and_then(|heard| heard.origins.get_mut(&origin));
        match seen {
            Some(seen) if seen.last < last => {
                seen.last = last;
                !std::mem::take(&mut seen.loose)
            }
            _ => false,
        }
    }

    /// A loss was announced: what is missing until the next number needs no second announcement.
    pub(super) fn forgive(&mut self, scope: &Scope, now: Instant) {
        for (sequence, heard) in &mut self.sequences {
            let concerned = match (scope, sequence) {
                (Scope::All, _) => true,
                (Scope::Lane(lane), Sequence::Lane(sequence)) => lane == sequence,
                (Scope::Channels(channels), Sequence::Channel(sequence)) => {
                    channels.contains(sequence)
                }
                (Scope::Channels(_), Sequence::Lane(_)) => true,
                (Scope::Lane(_), Sequence::Channel(_)) => false,
            };
            if concerned {
                heard.since = now;
                for seen in heard.origins.values_mut() {
                    seen.loose = true;
                    seen.first = 1;
                }
            }
        }
    }

    /// What was heard of a run is of no more use: this instance did not listen for a while.
    pub(super) fn forget(&mut self, sequence: &Sequence) {
        self.sequences.remove(sequence);
    }

    /// Forgets origins that have been silent for long.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.sequences.retain(|sequence, heard| {
            heard
                .origins
                .retain(|_, seen| now.saturating_duration_since(seen.at) < KEEP);
            matches!(sequence, Sequence::Lane(_)) || !heard.origins.is_empty()
        });
    }
}

impl Seen {
    const fn new(first: u64, last: u64, at: Instant) -> Self {
        Self {
            first,
            last,
            loose: false,
            at,
        }
    }
}

impl Heard {
    /// An origin that started after this instance began to listen must have been heard from its number 1 on.
    fn due(&mut self, origin: u128, word: Option<Word>, now: Instant) -> Option<Verdict> {
        let seen = self.origins.get_mut(&origin)?;
        let listening = now.saturating_duration_since(self.since);
        if seen.first <= 1 || word?.up + MARGIN >= listening {
            return None;
        }
        let to = seen.first - 1;
        seen.first = 1;
        Some(Verdict::Missing { from: 1, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Sequence = Sequence::Lane(0);

    fn of(number: u64) -> Origin {
        Origin { id: 9, number }
    }

    fn word(from: u64, up: u64) -> Option<Word> {
        let up = Duration::from_secs(up);
        Some(Word { from, up })
    }

    fn numbers(
        gap_detector: &mut GapDetector,
        sequence: &Sequence,
        numbers: &[u64],
    ) -> Vec<Verdict> {
        let now = Instant::now();
        let check = |&n: &u64| gap_detector.check(sequence, of(n), None, now);
        numbers.iter().map(check).collect()
    }

    #[test]
    fn contiguous_numbers_are_next_and_old_ones_repeated() {
        use Verdict::{Next, Repeated};
        let got = numbers(&mut GapDetector::default(), &LANE, &[5, 6, 6, 5, 7]);
        assert_eq!(got, [Next, Next, Repeated, Repeated, Next]);
    }

    #[test]
    fn a_jump_is_what_is_missing_and_is_told_once() {
        let got = numbers(&mut GapDetector::default(), &LANE, &[1, 4, 5]);
        assert_eq!(got[1], Verdict::Missing { from: 2, to: 3 });
        assert_eq!(got[2], Verdict::Next);
    }

    #[test]
    fn a_beacon_stands_for_the_numbers_that_were_given_up() {
        let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
        numbers(&mut gap_detector, &LANE, &[1]);
        assert_eq!(
            gap_detector.check(&LANE, of(5), word(2, 9), now),
            Verdict::Next
        );
        assert_eq!(
            gap_detector.check(&LANE, of(3), None, now),
            Verdict::Repeated
        );
        let missing = Verdict::Missing { from: 6, to: 7 };
        assert_eq!(gap_detector.check(&LANE, of(9), word(8, 9), now), missing);
    }

    #[test]
    fn an_announced_loss_is_not_told_again() {
        let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
        numbers(&mut gap_detector, &LANE, &[1]);
        gap_detector.forgive(&Scope::Lane(0), now);
        assert_eq!(
            numbers(&mut gap_detector, &LANE, &[5, 7]),
            [Verdict::Next, Verdict::Missing { from: 6, to: 6 }]
        );
    }

    #[test]
    fn a_young_origin_must_be_heard_from_its_first_number() {
        let (mut gap_detector, start) = (GapDetector::default(), Instant::now());
        let other = Origin { id: 1, number: 1 };
        gap_detector.check(&LANE, other, None, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(gap_detector.check(&LANE, of(3), None, later), Verdict::Next);
        let missing = Verdict::Missing { from: 1, to: 2 };
        assert_eq!(gap_detector.check(&LANE, of(4), word(4, 2), later), missing);
        assert_eq!(
            gap_detector.check(&LANE, of(5), word(5, 3), later),
            Verdict::Next
        );
        // One that ran before this instance listened may have any number.
        let old = Origin { id: 2, number: 70 };
        assert_eq!(
            gap_detector.check(&LANE, old, word(70, 99), later),
            Verdict::Next
        );
    }

    #[test]
    fn a_channels_count_may_begin_anew_after_a_silence() {
        let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
        let sequence = Sequence::Channel("c".into());
        assert_eq!(
            gap_detector.check(&sequence, of(8), None, now),
            Verdict::Next
        );
        assert_eq!(
            gap_detector.check(&sequence, of(1), None, now),
            Verdict::Repeated
        );
        let later = now + RESTART;
        assert_eq!(
            gap_detector.check(&sequence, of(1), None, later),
            Verdict::Next
        );
        assert_eq!(
            gap_detector.check(&sequence, of(2), None, later),
            Verdict::Next
        );
    }

    #[test]
    fn a_channels_lost_tail_is_seen_by_the_beacon_once() {
        let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
        let sequence = Sequence::Channel("c".into());
        gap_detector.check(&sequence, of(8), None, now);
        assert!(!gap_detector.is_short(&sequence, 9, 8));
        assert!(gap_detector.is_short(&sequence, 9, 9));
        assert!(!gap_detector.is_short(&sequence, 9, 9));
        assert!(!gap_detector.is_short(&Sequence::Channel("other".into()), 9, 1));
    }
}
