//! How far each lane was read, and what follows from the next position or message. Pure: positions come in, decisions go
//! out. The pump does what they say; no log, no lock and no clock is known here.

use hubplane_backplane::{Origin, Position, Publication};

use super::{refill::Missing, tail_fingerprint::TailFingerprint};
use crate::{gap_detector::Verdict, map::HashMap};

/// The lanes of the log, each up to where it was read, as the backend counts.
#[derive(Debug, Default)]
pub(super) struct LaneReads {
    lanes: HashMap<u32, Read>,
    /// The last messages that were read before the broker went away, until they were looked for.
    tails: Vec<TailFingerprint>,
}

/// How far a lane was read.
#[derive(Debug)]
struct Read {
    at: Position,
    /// The message at that position, if the one before it is known, too.
    tail: Option<TailFingerprint>,
}

/// What a message's position says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The lane was read up to this position of the same log before.
    Follows(Position),
    /// The message is the first that is read of this log: the window begins after `start`.
    Begins {
        start: Position,
        /// Another log was read in this lane before, so its numbers count no more.
        replaced: bool,
    },
}

/// What the backend's word on a lane's position says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The lane goes on in the same log.
    GoesOn,
    /// The lane is another log from here on.
    Replaced,
    /// The lane was not read before: its past belongs in the window.
    First,
}

/// What to do with a message before it is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Drop it: it was here already.
    Drop,
    /// The log was cut behind this message's place and nobody said so: begin a new generation, then take it in.
    RollBack,
    /// Look for these in the log first, then take it in.
    Refill(Missing),
    /// Take it in.
    TakeIn,
}

/// Decides what to do with a message at `at`, behind `after`, of which the gap detector says `verdict`.
///
/// A repetition is dropped wherever it is. Otherwise the place counts more than the number: in a log that was rolled back,
/// nothing can be looked up behind `after`.
pub(super) fn decide(
    verdict: Verdict,
    origin: Option<Origin>,
    after: Option<Position>,
    at: Option<Position>,
) -> Decision {
    let stale = match (at, after) {
        (Some(at), Some(after)) => at.is_after(&after) == Some(false),
        _ => false,
    };
    match verdict {
        Verdict::Repeated => Decision::Drop,
        _ if stale => Decision::RollBack,
        Verdict::Next => Decision::TakeIn,
        Verdict::Missing { from, to } => Decision::Refill(Missing {
            origin: origin.map_or(0, |origin| origin.id),
            from,
            to,
            after,
            upto: at,
        }),
    }
}

impl LaneReads {
    /// Takes a message at this position.
    pub(super) fn arrive(&mut self, position: Position, publication: &Publication) -> Arrival {
        let before = self.lanes.get(&position.lane).map(|read| read.at);
        let same = before.filter(|before| before.epoch == position.epoch);
        let read = Read {
            at: position,
            tail: same.map(|before| TailFingerprint::new(before, publication)),
        };
        self.lanes.insert(position.lane, read);
        match same {
            Some(before) => Arrival::Follows(before),
            None => Arrival::Begins {
                start: before_it(position),
                replaced: before.is_some(),
            },
        }
    }

    /// Takes the backend's word that a lane was read up to this position, without a message.
    pub(super) fn progress(&mut self, position: Position) -> Progress {
        let before = self.lanes.remove(&position.lane);
        let known = before.is_some();
        let same = before.filter(|read| read.at.epoch == position.epoch);
        let progress = match (&same, known) {
            (Some(_), _) => Progress::GoesOn,
            (None, true) => Progress::Replaced,
            (None, false) => Progress::First,
        };
        let read = Read {
            at: position,
            tail: same.and_then(|read| read.tail),
        };
        self.lanes.insert(position.lane, read);
        progress
    }

    /// Returns the position that a lane was read up to.
    pub(super) fn at(&self, lane: u32) -> Option<Position> {
        self.lanes.get(&lane).map(|read| read.at)
    }

    /// Returns the positions that all lanes were read up to.
    pub(super) fn all(&self) -> impl Iterator<Item = Position> {
        self.lanes.values().map(|read| read.at)
    }

    /// The broker is away. Only what was read before can tell whether the log is the same; what comes now may be of
    /// another one.
    pub(super) fn remember_tails(&mut self) {
        if self.tails.is_empty() {
            let tails = self.lanes.values().filter_map(|read| read.tail.clone());
            self.tails.extend(tails);
        }
    }

    /// The messages that are to be looked for, now that the broker is back.
    pub(super) fn tails(&self) -> &[TailFingerprint] {
        &self.tails
    }

    /// All tails were looked for, and behind these positions is something else than what was read there. Returns the lanes
    /// that were rolled back.
    pub(super) fn verified(&mut self, gone: &[Position]) -> Vec<u32> {
        self.tails.clear();
        let mut lanes = Vec::new();
        for place in gone {
            let read = self.lanes.get_mut(&place.lane);
            // If the epoch has changed, the backend has seen it, too.
            if let Some(read) = read.filter(|read| read.at.epoch == place.epoch) {
                read.tail = None;
                lanes.push(place.lane);
            }
        }
        lanes
    }
}

/// The position right before this one.
pub(super) const fn before_it(position: Position) -> Position {
    Position {
        offset: position.offset.saturating_sub(1),
        ..position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, offset: u128) -> Position {
        Position {
            epoch,
            lane: 0,
            offset,
        }
    }

    fn message() -> Publication {
        Publication {
            channel: "c".into(),
            data: "x".into(),
            position: None,
            id: None,
            origin: None,
            tags: Default::default(),
        }
    }

    #[test]
    fn a_message_follows_the_last_of_its_log_or_begins_one() {
        let mut reads = LaneReads::default();
        let begins = |start, replaced| Arrival::Begins { start, replaced };
        assert_eq!(reads.arrive(at(1, 5), &message()), begins(at(1, 4), false));
        let follows = Arrival::Follows(at(1, 5));
        assert_eq!(reads.arrive(at(1, 6), &message()), follows);
        assert_eq!(reads.arrive(at(2, 0), &message()), begins(at(2, 0), true));
        assert_eq!(reads.at(0), Some(at(2, 0)));
    }

    #[test]
    fn progress_tells_a_new_lane_from_a_new_log() {
        let mut reads = LaneReads::default();
        assert_eq!(reads.progress(at(1, 5)), Progress::First);
        assert_eq!(reads.progress(at(1, 9)), Progress::GoesOn);
        assert_eq!(reads.progress(at(2, 1)), Progress::Replaced);
        assert_eq!(reads.all().collect::<Vec<_>>(), [at(2, 1)]);
    }

    #[test]
    fn tails_are_those_of_before_the_broker_went_away() {
        let mut reads = LaneReads::default();
        reads.arrive(at(1, 5), &message());
        reads.remember_tails();
        assert!(
            reads.tails().is_empty(),
            "nothing is known before the first"
        );
        reads.arrive(at(1, 6), &message());
        reads.progress(at(1, 7));
        reads.remember_tails();
        reads.arrive(at(1, 8), &message());
        reads.remember_tails();
        assert_eq!(reads.tails().len(), 1, "those of the first time stay");
        assert_eq!(reads.verified(&[at(1, 5)]), [0]);
        assert!(reads.tails().is_empty());
    }

    #[test]
    fn a_log_that_the_backend_saw_replaced_was_not_rolled_back() {
        let mut reads = LaneReads::default();
        reads.progress(at(2, 1));
        assert!(reads.verified(&[at(1, 5)]).is_empty());
    }

    #[test]
    fn a_repetition_is_dropped_even_at_an_old_place() {
        let decision = decide(Verdict::Repeated, None, Some(at(1, 9)), Some(at(1, 5)));
        assert_eq!(decision, Decision::Drop);
    }

    #[test]
    fn an_old_place_with_something_new_is_a_rollback() {
        for verdict in [Verdict::Next, Verdict::Missing { from: 1, to: 2 }] {
            for offset in [5, 9] {
                let decision = decide(verdict, None, Some(at(1, 9)), Some(at(1, offset)));
                assert_eq!(decision, Decision::RollBack);
            }
        }
    }

    #[test]
    fn missing_numbers_are_looked_for_between_the_two_places() {
        let origin = Some(Origin { id: 7, number: 5 });
        let verdict = Verdict::Missing { from: 3, to: 4 };
        let missing = Missing {
            origin: 7,
            from: 3,
            to: 4,
            after: Some(at(1, 2)),
            upto: Some(at(1, 9)),
        };
        let decision = decide(verdict, origin, Some(at(1, 2)), Some(at(1, 9)));
        assert_eq!(decision, Decision::Refill(missing));
    }

    #[test]
    fn what_has_no_place_or_no_place_before_it_is_taken_in() {
        assert_eq!(decide(Verdict::Next, None, None, None), Decision::TakeIn);
        let first = decide(Verdict::Next, None, None, Some(at(1, 1)));
        assert_eq!(first, Decision::TakeIn);
    }
}
