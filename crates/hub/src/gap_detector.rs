//! The receiver's side of the numbers: finds out whether each origin's numbers are contiguous.
//!
//! Pure: messages and times come in, verdicts go out; `model.rs` tries every order of events on
//! this code. A number is judged in its sequence, and each origin for itself. A loss that was
//! announced already is not announced twice, but it excuses only what it can explain, see
//! `doubts.rs`. Nothing here knows the log: whoever gets a verdict looks for what is missing.

mod doubts;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use hubplane_backplane::{Origin, Scope};

pub(super) use self::doubts::Doubt;
use self::doubts::Doubts;
use super::{map::HashMap, sequencer::Sequence};

/// After so long a silence, a low number means that the sender's count of a channel began anew, and
/// is no repetition. The sender keeps each count longer than this.
const RESTART: Duration = Duration::from_secs(30);
/// Origins that have been silent for so long are forgotten.
const KEEP: Duration = Duration::from_secs(900);
/// How long to wait between two searches for such origins, since they go through all sequences.
const SWEEP: Duration = Duration::from_secs(30);
/// The most origins of one sequence. Beyond it, the one that has been silent for longest is
/// forgotten: another program can make up any number of origins.
const MOST_ORIGINS: usize = 1_024;
/// How much later than this instance's listening an origin must have started before its first
/// numbers are due here.
const MARGIN: Duration = Duration::from_secs(1);

/// What the numbers say of one message.
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

/// What a beacon says besides its number, in the form that is judged here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// The beacon stands for all numbers from this one on.
    pub(super) from: u64,
    /// How long its origin has been running.
    pub(super) up: Duration,
    /// How long its origin has been connected to the broker; `None` if the beacon doesn't say.
    pub(super) connected: Option<Duration>,
}

/// What this instance has heard, sequence by sequence and origin by origin.
#[derive(Debug, Default)]
pub(super) struct GapDetector {
    sequences: HashMap<Sequence, Heard>,
    doubts: Doubts,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Heard {
    /// Since when everything of the sequence arrives at this instance. A loss from before was
    /// announced.
    since: Instant,
    origins: HashMap<u128, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The first number heard, or the first that one of its beacons stands for.
    first: u64,
    last: u64,
    /// True if a loss was announced since its last number. A hole behind that number may be that
    /// loss.
    forgiven: bool,
    at: Instant,
}

impl GapDetector {
    /// Judges one message, and takes note of it. `word` is what it says if it is a beacon.
    pub(super) fn check(
        &mut self,
        sequence: &Sequence,
        origin: Origin,
        word: Option<Word>,
        now: Instant,
    ) -> Verdict {
        if let Some(word) = word {
            self.doubts.hear(origin.id, word, now);
        }
        let heard = match self.sequences.get_mut(sequence) {
            Some(heard) => heard,
            None => self
                .sequences
                .entry(sequence.clone())
                .or_insert_with(|| Heard {
                    since: now,
                    origins: HashMap::default(),
                }),
        };
        let number = origin.number;
        // A beacon stands for a stretch, a message for itself.
        let from = word.map_or(number, |word| word.from.min(number));
        // An origin heard for the first time is believed, and judged by its first beacon: judging
        // at once would announce a loss for every hub that was cut off while another one started.
        let Some(seen) = heard.origins.get_mut(&origin.id) else {
            let first = from.max(1);
            heard.make_room();
            heard
                .origins
                .insert(origin.id, Seen::new(first, number, now));
            return heard.due(origin.id, word, now).unwrap_or(Verdict::Next);
        };
        // Only channels' counts are given up by their senders; a lane's count never goes back.
        let anew = matches!(sequence, Sequence::Channel(_))
            && number <= seen.last
            && now.saturating_duration_since(seen.at) >= RESTART;
        if anew {
            *seen = Seen::new(1, number, now);
            return match number {
                0 | 1 => Verdict::Next,
                _ => Verdict::Missing {
                    from: 1,
                    to: number - 1,
                },
            };
        }
        seen.at = now;
        // Also a message that its publisher gave up and the broker delivers late.
        if number <= seen.last {
            return Verdict::Repeated;
        }
        let expected = seen.last + 1;
        let forgiven = std::mem::take(&mut seen.forgiven);
        seen.last = number;
        // A hole right behind an announced loss may be a part of it: it waits for the sender's
        // word, unless too many wait already.
        if from > expected {
            let doubt = Doubt {
                sequence: sequence.clone(),
                first: Origin {
                    number: expected,
                    ..origin
                },
                told: heard.since,
                seen: now,
            };
            if !(forgiven && self.doubts.add(doubt)) {
                return Verdict::Missing {
                    from: expected,
                    to: from - 1,
                };
            }
        }
        heard.due(origin.id, word, now).unwrap_or(Verdict::Next)
    }

    /// Returns true if an origin's beacon tells a higher last number of a channel than what arrived
    /// here: its last messages are missing. They count as heard from then on, so one loss is told
    /// once.
    pub(super) fn is_short(&mut self, sequence: &Sequence, origin: u128, last: u64) -> bool {
        let Some(heard) = self.sequences.get_mut(sequence) else {
            return false;
        };
        match heard.origins.get_mut(&origin) {
            Some(seen) if seen.last < last => {
                seen.last = last;
                let forgiven = std::mem::take(&mut seen.forgiven);
                !(forgiven && self.doubts.is_covered(origin, heard.since) == Some(true))
            }
            _ => false,
        }
    }

    /// Returns the holes behind an announced loss that are not a part of it. They are to be
    /// announced, one for each sequence.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Doubt> {
        self.doubts.settle(now)
    }

    /// Notes that a loss in `scope` was announced: what was missing until then needs no second
    /// announcement.
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
                    // What came before the announcement is not due any more.
                    seen.forgiven = true;
                    seen.first = 1;
                }
                self.doubts.forget(sequence);
            }
        }
    }

    /// Forgets a sequence, because this instance did not listen to it for a while.
    pub(super) fn forget(&mut self, sequence: &Sequence) {
        self.sequences.remove(sequence);
        self.doubts.forget(sequence);
    }

    /// Forgets origins that have been silent for long. Does something only once in a while.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self
            .swept
            .is_some_and(|at| now.saturating_duration_since(at) < SWEEP)
        {
            return;
        }
        self.swept = Some(now);
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
            forgiven: false,
            at,
        }
    }
}

impl Heard {
    /// Forgets the origin that has been silent for longest, if there are too many.
    fn make_room(&mut self) {
        if self.origins.len() < MOST_ORIGINS {
            return;
        }
        let silent = self.origins.iter().min_by_key(|(_, seen)| seen.at);
        if let Some(id) = silent.map(|(id, _)| *id) {
            self.origins.remove(&id);
        }
    }

    /// Returns the first numbers of an origin if they are missing: one that started after this
    /// instance began to listen must have been heard from its number 1 on. Only a beacon can tell
    /// when it started.
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
