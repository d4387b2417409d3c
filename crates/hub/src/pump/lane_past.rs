//! What is decided while a lane's past is read into the window. Pure: pages come in, and it says
//! which messages belong there, where the window begins, and whether to read on.
//! [`Pump::fill`](super::Pump::fill) reads the pages and limits the time.

use std::time::Duration;

use hubplane_backplane::{Position, Publication, Start};

use super::lane_reads::before_it;
use crate::gap_detector::Verdict;

/// The reading of one lane's past.
#[derive(Debug)]
pub(super) struct LanePast {
    /// What comes after this place arrives as an event.
    end: Position,
    from: Start,
    /// The window has begun.
    begun: bool,
}

/// Where a message of the past belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PastPlace {
    pub(super) at: Position,
    /// The message is the first of the lane: the window begins after this position.
    pub(super) begins: Option<Position>,
}

impl LanePast {
    /// Begins a reading up to `end`. The window keeps messages up to this age, and `most` of them:
    /// millions of messages would keep a starting hub deaf, so no more are read than fit.
    pub(super) const fn new(end: Position, age: Duration, most: usize) -> Self {
        Self {
            end,
            from: Start::Recent { age, most },
            begun: false,
        }
    }

    /// From where to read the next page.
    pub(super) const fn from(&self) -> Start {
        self.from
    }

    /// Places one message of a page; they come in their order. Returns `None` if it is not of this
    /// past.
    pub(super) fn place(&mut self, publication: &Publication) -> Option<PastPlace> {
        let at = publication.position?;
        if at.epoch != self.end.epoch || at.offset > self.end.offset {
            return None;
        }
        // Where the window begins is known only with the first message.
        let first = !std::mem::replace(&mut self.begun, true);
        let begins = first.then(|| before_it(at));
        Some(PastPlace { at, begins })
    }

    /// Notes how far a page has come. Returns true if the next one is to be read.
    pub(super) fn reads_on(&mut self, upto: Option<Position>, more: bool) -> bool {
        match upto {
            Some(upto) if more && upto.offset < self.end.offset => {
                self.from = Start::After(upto);
                true
            }
            _ => false,
        }
    }
}

/// Returns the position up to which the window can't be trusted, with the message at `at`: that of
/// a beacon with a new generation, or of a hole in the numbers. What was in the hole has been
/// removed, such as by a topic that was compacted for a while.
pub(super) fn void_upto(at: Position, verdict: Verdict, new_generation: bool) -> Option<Position> {
    match verdict {
        _ if new_generation => Some(at),
        Verdict::Missing { .. } => Some(before_it(at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    fn at(epoch: u64, offset: u128) -> Position {
        Position {
            epoch,
            lane: 0,
            offset,
        }
    }

    fn message(position: Option<Position>) -> Publication {
        Publication {
            channel: "c".into(),
            data: "x".into(),
            position,
            id: None,
            origin: None,
            tags: Default::default(),
        }
    }

    /// Offset 20 is the last one of the past.
    fn past() -> LanePast {
        LanePast::new(at(1, 20), AGE, 1_000)
    }

    #[test]
    fn the_window_begins_right_before_the_first_message() {
        let mut past = past();
        for (offset, begins) in [(7, Some(at(1, 6))), (8, None), (20, None)] {
            let at = at(1, offset);
            let place = past.place(&message(Some(at)));
            assert_eq!(place, Some(PastPlace { at, begins }));
        }
    }

    #[test]
    fn what_is_not_of_this_past_does_not_begin_the_window() {
        let mut past = past();
        for other in [None, Some(at(2, 5)), Some(at(1, 21))] {
            assert_eq!(past.place(&message(other)), None);
        }
        let first = past.place(&message(Some(at(1, 0))));
        assert_eq!(first.and_then(|it| it.begins), Some(at(1, 0)));
    }

    #[test]
    fn pages_are_read_up_to_the_end_of_the_past_or_of_the_log() {
        let mut past = past();
        let most = 1_000;
        assert_eq!(past.from(), Start::Recent { age: AGE, most });
        assert!(past.reads_on(Some(at(1, 19)), true));
        assert_eq!(past.from(), Start::After(at(1, 19)));
        for (upto, more) in [
            (Some(at(1, 20)), true),
            (Some(at(1, 25)), true),
            (Some(at(1, 19)), false),
            (None, true),
        ] {
            assert!(!past.reads_on(upto, more), "{upto:?} {more}");
        }
    }

    #[test]
    fn a_new_generation_or_a_hole_voids_what_was_before() {
        let missing = Verdict::Missing { from: 1, to: 2 };
        for (verdict, new_generation, void) in [
            (Verdict::Next, false, None),
            (Verdict::Repeated, false, None),
            (missing, false, Some(at(1, 6))),
            (Verdict::Next, true, Some(at(1, 7))),
            (missing, true, Some(at(1, 7))),
        ] {
            let told = void_upto(at(1, 7), verdict, new_generation);
            assert_eq!(told, void, "{verdict:?} {new_generation}");
        }
    }
}
