//! Whether the message that a client means is at its position. Pure: pages of the log come in, and
//! it says whether to read on. [`Hub::recognises`](crate::Hub) reads.

use hubplane_backplane::{Page, Position, Start};

use super::AGES;
use crate::position::{ClientPosition, Fingerprint};

/// The search for the message at one position.
pub(super) struct Lookup {
    /// What the client says.
    position: ClientPosition,
    /// The same place in the log.
    at: Position,
    from: Start,
}

impl Lookup {
    /// Begins right before the message, which is at `at` in the log.
    pub(super) fn new(position: ClientPosition, at: Position) -> Self {
        let from = match at.offset.checked_sub(1) {
            Some(offset) => Start::After(Position { offset, ..at }),
            None => Start::since(AGES),
        };
        Self { position, at, from }
    }

    /// From where to read one message next.
    pub(super) const fn from(&self) -> Start {
        self.from
    }

    /// Takes what was read. Returns the answer, or `None` if more must be read.
    pub(super) fn take(&mut self, page: &Page) -> Option<bool> {
        if let Some(first) = page.publications.first() {
            let there = Fingerprint::of_publication(first);
            return Some(self.position.is_of(there) && first.position == Some(self.at));
        }
        // A read may give nothing although there is more: it goes on up to the place.
        match page.upto {
            Some(upto) if page.more && upto.offset < self.at.offset => {
                self.from = Start::After(upto);
                None
            }
            _ => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::Publication;

    use super::*;

    fn at(offset: u128) -> Position {
        Position {
            epoch: 1,
            lane: 0,
            offset,
        }
    }

    fn message(data: &'static str, offset: u128) -> Publication {
        Publication {
            channel: "c".into(),
            data: data.into(),
            position: Some(at(offset)),
            id: None,
            origin: None,
            tags: Default::default(),
        }
    }

    /// Looks for the message "mine" at this offset.
    fn lookup(offset: u128) -> Lookup {
        let fingerprint = Fingerprint::of_publication(&message("mine", offset));
        let position = ClientPosition {
            epoch: 1,
            lane: 0,
            offset,
            fingerprint: Some(fingerprint),
        };
        Lookup::new(position, at(offset))
    }

    fn page(publications: Vec<Publication>, upto: Option<u128>, more: bool) -> Page {
        Page {
            publications,
            upto: upto.map(at),
            more,
        }
    }

    #[test]
    fn only_the_same_message_at_the_same_place_is_recognised() {
        for (there, same) in [
            (message("mine", 5), true),
            (message("other", 5), false),
            (message("mine", 6), false),
        ] {
            let page = page(vec![there], Some(5), true);
            assert_eq!(lookup(5).take(&page), Some(same), "{page:?}");
        }
    }

    #[test]
    fn the_search_begins_right_before_the_message() {
        assert_eq!(lookup(5).from(), Start::After(at(4)));
        assert_eq!(lookup(0).from(), Start::since(AGES), "from the oldest");
    }

    #[test]
    fn reads_that_give_nothing_go_on_up_to_the_place() {
        let mut lookup = lookup(5);
        assert_eq!(lookup.take(&page(Vec::new(), Some(4), true)), None);
        assert_eq!(lookup.from(), Start::After(at(4)));
        for (upto, more) in [(Some(5), true), (Some(4), false), (None, true)] {
            let page = page(Vec::new(), upto, more);
            assert_eq!(lookup.take(&page), Some(false), "{page:?}");
        }
    }
}
