//! How a page of history grows from one read to the next, and where it ends. Pure: what was read
//! comes in, and it says what to read next. [`Hub::past`](crate::Hub::past) reads.

use hubplane_backplane::{Page, Position, Publication};

use super::HistoryPage;
use crate::{
    message::Message,
    position::{ClientPosition, Fingerprint},
    window::ReadLimit,
};

/// The most messages of one read.
const MOST: usize = 1_000;
/// Messages of the first read, when it is not known yet how large they are.
const FIRST: usize = 32;

/// A page that is being read.
pub(super) struct Paging {
    page: HistoryPage,
    /// The log is read up to here; `None` before its first message.
    at: Option<Position>,
    /// The most that the page takes. It may exceed its bytes by a little.
    limit: ReadLimit,
    /// Bytes of all data that was read.
    bytes: usize,
    /// How many messages are likely to fit.
    step: usize,
}

impl Paging {
    /// An empty page behind a client's position, which is at `at` in the log.
    pub(super) const fn new(
        after: Option<ClientPosition>,
        at: Option<Position>,
        limit: ReadLimit,
    ) -> Self {
        Self {
            page: HistoryPage {
                messages: Vec::new(),
                upto: after,
                more: true,
            },
            at,
            limit,
            bytes: 0,
            step: FIRST,
        }
    }

    /// The log is read up to here; `None` if nothing of it was.
    pub(super) const fn at(&self) -> Option<Position> {
        self.at
    }

    /// Returns how many messages to read next, behind [`Self::at`]; `None` once the page is whole.
    pub(super) fn next(&self) -> Option<usize> {
        let room = self.limit.messages.saturating_sub(self.page.messages.len());
        let goes_on = self.page.more && room > 0 && self.bytes < self.limit.bytes;
        goes_on.then(|| room.min(MOST).min(self.step))
    }

    /// Takes what was read behind [`Self::at`]. `place` makes a message's place a client's position,
    /// and `message` makes a message what clients know, or nothing if it repeats an earlier one.
    pub(super) fn take(
        &mut self,
        read: Page,
        place: impl FnOnce(Position, Fingerprint) -> ClientPosition,
        message: impl FnMut(Publication) -> Option<Message>,
    ) {
        // A read may give less than it was asked for although there is more.
        self.page.more = read.more;
        self.at = read.upto.or(self.at);
        if let Some(last) = read.publications.last() {
            let of = Fingerprint::of_publication(last);
            self.page.upto = last.position.map(|at| place(at, of));
        }
        self.bytes += read
            .publications
            .iter()
            .map(|it| it.data.len())
            .sum::<usize>();
        let messages = read.publications.into_iter().filter_map(message);
        self.page.messages.extend(messages);
        // As many as fit if they are as large as those before, so the page exceeds its bytes by
        // little.
        self.step = match self.bytes.checked_div(self.page.messages.len()) {
            None => self.step * 2,
            Some(size) => (self.limit.bytes.saturating_sub(self.bytes) / size.max(1)).max(1),
        };
    }

    /// Returns the page as it is.
    pub(super) fn into_page(self) -> HistoryPage {
        self.page
    }
}

/// Returns the last place up to `end` by which a client can be recognised: `read`, which the page
/// ends with, or a later one of the same log, which the window knows.
pub(super) fn last_place(
    end: ClientPosition,
    known: Option<ClientPosition>,
    read: Option<ClientPosition>,
) -> ClientPosition {
    let known = known.filter(|known| known.epoch == end.epoch);
    match (known, read) {
        (Some(known), Some(read)) if read.is_after(&known) == Some(true) => read,
        (Some(known), _) => known,
        (None, read) => read.unwrap_or(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u128) -> Position {
        Position {
            epoch: 1,
            lane: 0,
            offset,
        }
    }

    fn place(at: Position, fingerprint: Option<Fingerprint>) -> ClientPosition {
        ClientPosition {
            epoch: at.epoch,
            lane: at.lane,
            offset: at.offset,
            fingerprint,
        }
    }

    fn paging(messages: usize, bytes: usize) -> Paging {
        Paging::new(None, None, ReadLimit { messages, bytes })
    }

    /// Reads messages of these sizes, the last one at `upto`. Empty ones are repetitions.
    fn read(paging: &mut Paging, sizes: &[usize], upto: u128, more: bool) {
        let first = upto + 1 - sizes.len() as u128;
        let publications = (first..).zip(sizes).map(|(offset, size)| Publication {
            channel: "c".into(),
            data: vec![b'x'; *size].into(),
            position: Some(at(offset)),
            id: None,
            origin: None,
            tags: Default::default(),
        });
        let page = Page {
            publications: publications.collect(),
            upto: Some(at(upto)),
            more,
        };
        let message = |it: Publication| {
            let message = Message {
                channel: it.channel,
                data: it.data,
                position: it.position.map(|at| place(at, None)),
                id: None,
                origin: None,
                tags: Default::default(),
            };
            (!message.data.is_empty()).then_some(message)
        };
        paging.take(page, |at, of| place(at, Some(of)), message);
    }

    #[test]
    fn a_page_ends_with_its_messages_its_bytes_or_the_log() {
        for (sizes, more, next) in [
            (&[1; 3][..], true, None),
            (&[1; 2], true, Some(1)),
            (&[1; 2], false, None),
            (&[50, 50], true, None),
            (&[], false, None),
        ] {
            let mut paging = paging(3, 100);
            read(&mut paging, sizes, 10, more);
            assert_eq!(paging.next(), next, "{sizes:?} {more}");
            assert_eq!(paging.into_page().more, more);
        }
    }

    #[test]
    fn the_first_read_is_small_and_the_next_as_large_as_fits() {
        let mut paging = paging(5_000, 100_000);
        assert_eq!(paging.next(), Some(FIRST));
        read(&mut paging, &[1_000; 32], 32, true);
        assert_eq!(paging.next(), Some(68), "68 kB are left");
        read(&mut paging, &[1; 10], 42, true);
        assert!(
            paging.next() > Some(68),
            "they are smaller than they seemed"
        );
        let mut small = self::paging(5_000, 100_000);
        read(&mut small, &[1; 32], 32, true);
        assert_eq!(small.next(), Some(MOST));
    }

    #[test]
    fn messages_larger_than_what_is_left_are_read_one_by_one() {
        let mut paging = paging(10, 100);
        read(&mut paging, &[90], 1, true);
        assert_eq!(paging.next(), Some(1));
    }

    #[test]
    fn while_nothing_is_found_the_reads_grow() {
        let mut paging = paging(5_000, 100_000);
        for (upto, next) in [(10, 64), (20, 128), (30, 256)] {
            read(&mut paging, &[], upto, true);
            assert_eq!((paging.at(), paging.next()), (Some(at(upto)), Some(next)));
        }
        assert_eq!(paging.into_page().upto, None, "no message was there");
    }

    #[test]
    fn a_repetition_is_not_in_the_page_but_the_page_goes_up_to_it() {
        let mut paging = paging(5, 100);
        read(&mut paging, &[1, 1, 0], 3, true);
        let page = paging.into_page();
        assert_eq!(page.messages.len(), 2);
        assert_eq!(page.upto.map(|upto| upto.offset), Some(3));
    }

    #[test]
    fn a_read_that_gives_nothing_leaves_everything_where_it_was() {
        let after = place(at(4), None);
        let limit = ReadLimit {
            messages: 5,
            bytes: 100,
        };
        let mut paging = Paging::new(Some(after), Some(at(4)), limit);
        let nothing = Page {
            publications: Vec::new(),
            upto: None,
            more: false,
        };
        paging.take(nothing, |at, of| place(at, Some(of)), |_| None);
        assert_eq!((paging.at(), paging.next()), (Some(at(4)), None));
        assert_eq!(paging.into_page().upto, Some(after));
    }

    #[test]
    fn the_last_place_is_the_latest_that_is_known() {
        let end = place(at(9), None);
        let on = |offset| Some(place(at(offset), Some(Fingerprint::ANY)));
        for (known, read, last) in [
            (on(7), on(5), on(7)),
            (on(5), on(7), on(7)),
            (on(7), None, on(7)),
            (None, on(5), on(5)),
            (None, None, Some(end)),
        ] {
            assert_eq!(Some(last_place(end, known, read)), last);
        }
        let other_log = on(7).map(|it| ClientPosition { epoch: 2, ..it });
        assert_eq!(last_place(end, other_log, None), end);
    }
}
