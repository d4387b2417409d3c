//! What is decided while missing numbers are looked for in the broker's log. Pure: pages come in, and it says whether to
//! read on. [`Pump::refill`](super::Pump::refill) reads the pages and limits the time.

use hubplane_backplane::{Page, Position, Publication};

use crate::beacon::Beacon;

/// Numbers that did not come, and where they would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Who published them.
    pub(super) origin: u128,
    /// The first of the numbers.
    pub(super) from: u64,
    /// The last of them.
    pub(super) to: u64,
    /// They are behind this position; `None` on brokers without positions, where nothing can be looked up.
    pub(super) after: Option<Position>,
    /// They are before this position, which is the one of the message that showed the hole.
    pub(super) upto: Option<Position>,
}

/// The search for all of the missing messages.
#[derive(Debug)]
pub(super) struct Refill {
    origin: u128,
    /// The next number that must be found: a beacon may stand for several.
    next: u64,
    to: u64,
    at: Position,
    upto: Position,
    found: Vec<Publication>,
}

/// What to do after a page.
#[derive(Debug)]
pub(super) enum Step {
    /// Read the next page, behind [`Refill::at`].
    ReadOn(Refill),
    /// These are all of the missing messages, in their order; beacons are among them.
    Found(Vec<Publication>),
    /// One of them is not in the log, so that the loss must be announced.
    NotThere,
}

impl Refill {
    /// Returns `None` if the positions are not known, so that nothing can be read.
    pub(super) fn new(missing: Missing) -> Option<Self> {
        Some(Self {
            origin: missing.origin,
            next: missing.from,
            to: missing.to,
            at: missing.after?,
            upto: missing.upto?,
            found: Vec::new(),
        })
    }

    /// The position behind which the next page begins.
    pub(super) const fn at(&self) -> Position {
        self.at
    }

    /// Takes a page of the log that was read behind [`Self::at`].
    pub(super) fn take(mut self, page: Page) -> Step {
        for publication in page.publications {
            let Some(origin) = publication.origin else {
                continue;
            };
            if origin.id != self.origin || origin.number < self.next {
                continue;
            }
            // A beacon stands for the numbers that its sender gave up, so they are not missing.
            let beacon = Beacon::of(&publication);
            let first = beacon.map_or(origin.number, |(beacon, _)| beacon.word().from);
            if first > self.next {
                return Step::NotThere;
            }
            self.next = origin.number + 1;
            self.found.push(publication);
            if self.next > self.to {
                return Step::Found(self.found);
            }
        }
        match page.upto {
            Some(at) if page.more && at.offset < self.upto.offset => {
                self.at = at;
                Step::ReadOn(self)
            }
            _ => Step::NotThere,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hubplane_backplane::Origin;

    use super::*;
    use crate::beacon::CHANNEL;

    const ME: u128 = 7;

    fn at(offset: u128) -> Position {
        Position {
            epoch: 1,
            lane: 0,
            offset,
        }
    }

    /// Numbers 3 to 5 are missing, between the offsets 10 and 20.
    fn search() -> Refill {
        Refill::new(Missing {
            origin: ME,
            from: 3,
            to: 5,
            after: Some(at(10)),
            upto: Some(at(20)),
        })
        .unwrap()
    }

    fn publication(channel: &str, id: u128, number: u64) -> Publication {
        Publication {
            channel: channel.into(),
            data: "x".into(),
            position: None,
            id: None,
            origin: Some(Origin { id, number }),
            tags: Default::default(),
        }
    }

    fn page(publications: Vec<Publication>, upto: u128, more: bool) -> Page {
        Page {
            publications,
            upto: Some(at(upto)),
            more,
        }
    }

    fn mine(number: u64) -> Publication {
        publication("c", ME, number)
    }

    #[test]
    fn messages_are_found_over_several_pages() {
        // What came before, and what others published, is passed over.
        let first = vec![mine(2), publication("c", 8, 4), mine(3)];
        let Step::ReadOn(search) = search().take(page(first, 12, true)) else {
            panic!("two are not found yet");
        };
        assert_eq!(search.at(), at(12));
        let Step::Found(found) = search.take(page(vec![mine(4), mine(5), mine(6)], 16, true))
        else {
            panic!("all are there");
        };
        let numbers: Vec<_> = found.iter().filter_map(|it| it.origin).collect();
        assert_eq!(numbers, [3, 4, 5].map(|number| Origin { id: ME, number }));
    }

    #[test]
    fn a_hole_in_the_log_is_seen_at_once() {
        let step = search().take(page(vec![mine(3), mine(5)], 12, true));
        assert!(matches!(step, Step::NotThere), "{step:?}");
    }

    #[test]
    fn a_beacon_stands_for_the_numbers_that_were_given_up() {
        let number = 5;
        let mut beacon = publication(CHANNEL, ME, number);
        beacon.data = Beacon::new(Origin { id: ME, number }, 4, Duration::ZERO).encode();
        let step = search().take(page(vec![mine(3), beacon], 12, true));
        assert!(
            matches!(&step, Step::Found(found) if found.len() == 2),
            "{step:?}"
        );
    }

    #[test]
    fn the_search_ends_where_the_log_or_the_hole_ends() {
        for (upto, more) in [(12, false), (20, true), (25, true)] {
            let step = search().take(page(vec![mine(3)], upto, more));
            assert!(matches!(step, Step::NotThere), "{upto} {more}: {step:?}");
        }
    }

    #[test]
    fn nothing_is_looked_for_without_positions() {
        let missing = Missing {
            origin: ME,
            from: 1,
            to: 1,
            after: None,
            upto: None,
        };
        assert!(Refill::new(missing).is_none());
    }
}
