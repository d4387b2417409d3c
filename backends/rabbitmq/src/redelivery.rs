//! Drops what the broker delivers a second time.
//!
//! When a connection is lost, the broker puts back what was not acknowledged, in its old order, and delivers it first on the
//! next connection, marked as redelivered. A part of it was handed over already. A message with an id or an origin is known
//! again by that. What was never acknowledged is known by its number: so many come again first, for certain. Another message with neither is known by its place: next to one that has one, with the same content. Where no
//! such neighbour is there it is handed over again, since two equal messages may be two messages.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use hubplane_backplane::Publication;

/// Four times what the broker delivers ahead of acknowledgements, for connections that break again and again.
const MOST: usize = 4_000;

/// What a message is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    hash: u64,
    /// It has an id or an origin.
    named: bool,
}

/// Knows what was handed over and is perhaps not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct RedeliveryFilter {
    hasher: RandomState,
    /// Of this connection, by rising delivery tags.
    open: VecDeque<(u64, Mark)>,
    /// Of the connections before, in their order.
    before: Vec<Mark>,
    /// Where the named ones stand in `before`.
    named: HashMap<u64, usize>,
    /// The highest tag that may have been acknowledged on this connection.
    acknowledged: u64,
    /// So many of the next redelivered messages were surely handed over.
    sure: usize,
    /// Where the next redelivered message stands in `before`, once one of them has been found there.
    next: Option<usize>,
}

impl RedeliveryFilter {
    pub(crate) fn mark(&self, publication: &Publication) -> Mark {
        let Publication {
            channel,
            id,
            origin,
            data,
            tags,
            ..
        } = publication;
        let named = id.is_some() || origin.is_some();
        let hash = match named {
            true => self.hasher.hash_one((channel, id, origin)),
            false => self.hasher.hash_one((channel, data, tags)),
        };
        Mark { hash, named }
    }

    /// Whether the messages that come next may tell what this redelivered one is.
    pub(crate) fn is_unsure(&self, mark: Mark) -> bool {
        self.next.is_none() && !mark.named && !self.named.is_empty()
    }

    /// Tells of each message, with whether it is redelivered, whether it was handed over before. To be called with
    /// everything that arrives, in its order.
    pub(crate) fn repeats(&mut self, batch: &[(Mark, bool)]) -> Vec<bool> {
        let mut repeats = vec![false; batch.len()];
        for (index, (mark, redelivered)) in batch.iter().enumerate() {
            if !redelivered {
                // What is redelivered comes first; from here on all is new.
                self.forget();
                continue;
            }
            let sure = self.sure > 0;
            self.sure = self.sure.saturating_sub(1);
            repeats[index] = sure;
            let place = match mark.named {
                true => self.named.get(&mark.hash).copied(),
                false => self
                    .next
                    .filter(|next| self.before.get(*next) == Some(mark)),
            };
            self.next = place.map(|place| place + 1);
            let Some(place) = place else { continue };
            repeats[index] = true;
            // What came just before it in this batch stands just before it in that order.
            let earlier = (0..index).rev().zip((0..place).rev());
            for (index, place) in earlier {
                if repeats[index] || self.before[place] != batch[index].0 {
                    break;
                }
                repeats[index] = true;
            }
        }
        repeats
    }

    /// Handed over, or dropped as a repetition: in both cases it may come again.
    pub(crate) fn taken(&mut self, tag: u64, mark: Mark) {
        self.open.push_back((tag, mark));
    }

    /// An acknowledgement up to this tag may have been sent.
    pub(crate) fn acknowledging(&mut self, tag: u64) {
        self.acknowledged = tag;
    }

    /// The broker has dropped messages, or the queue is another one: what comes next may not be what was handed over.
    pub(crate) fn unsure(&mut self) {
        self.sure = 0;
    }

    /// The broker surely has the acknowledgement up to this tag.
    pub(crate) fn settled(&mut self, tag: u64) {
        while self.open.front().is_some_and(|(first, _)| *first <= tag) {
            self.open.pop_front();
        }
    }

    /// The connection is lost; what was open may come again, and behind it what was to come again and has not.
    pub(crate) fn interrupted(&mut self) {
        // What was never acknowledged surely comes again, and nothing that was not handed over comes before it.
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let unacknowledged = self.open.iter().filter(|(tag, _)| *tag > acknowledged);
        let sure = self.sure + unacknowledged.count();
        let rest = self.before.split_off(self.next.unwrap_or(0));
        let open = self.open.drain(..).map(|(_, mark)| mark);
        let before: Vec<_> = open.chain(rest).take(MOST).collect();
        self.forget();
        let named = before.iter().enumerate().filter(|(_, mark)| mark.named);
        self.named = named.map(|(place, mark)| (mark.hash, place)).collect();
        self.before = before;
        self.sure = sure;
    }

    fn forget(&mut self) {
        self.before.clear();
        self.named.clear();
        self.next = None;
        self.sure = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(text: &str) -> Publication {
        // A capital letter stands for a message with an id.
        let named = text.starts_with(|first: char| first.is_ascii_uppercase());
        Publication {
            channel: "c".into(),
            data: text.to_owned().into(),
            position: None,
            id: named.then(|| text.into()),
            origin: None,
            tags: Vec::new(),
        }
    }

    /// Of messages by one letter each, those that are not dropped.
    fn passed(
        filter: &mut RedeliveryFilter,
        first_tag: u64,
        text: &str,
        redelivered: bool,
    ) -> String {
        let letters: Vec<_> = text.chars().map(String::from).collect();
        let marks: Vec<_> = letters
            .iter()
            .map(|letter| (filter.mark(&publication(letter)), redelivered))
            .collect();
        let repeats = filter.repeats(&marks);
        for (tag, (mark, _)) in (first_tag..).zip(marks) {
            filter.taken(tag, mark);
        }
        let kept = letters.into_iter().zip(repeats);
        kept.filter(|(_, repeat)| !repeat)
            .map(|(letter, _)| letter)
            .collect()
    }

    #[test]
    fn what_was_open_is_dropped_once_it_comes_again() {
        let mut filter = RedeliveryFilter::default();
        assert_eq!(passed(&mut filter, 1, "aBcDe", false), "aBcDe");
        filter.settled(1);
        filter.acknowledging(5);
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "cDefG", true), "fG");
        // Broken again, before anything was acknowledged.
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "cDefGh", true), "h");
        assert_eq!(
            passed(&mut filter, 7, "B", false),
            "B",
            "new although equal"
        );
        assert_eq!(
            passed(&mut filter, 8, "D", true),
            "D",
            "repetitions come first"
        );
    }

    #[test]
    fn a_second_loss_in_the_middle_forgets_nothing() {
        let mut filter = RedeliveryFilter::default();
        passed(&mut filter, 1, "ABCDEF", false);
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "ABC", true), "");
        filter.settled(2);
        filter.acknowledging(2);
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "CDEFG", true), "G");
    }

    #[test]
    fn without_a_named_neighbour_equal_messages_may_be_two() {
        let mut filter = RedeliveryFilter::default();
        passed(&mut filter, 1, "xxx", false);
        filter.acknowledging(3);
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "xx", true), "xx");
    }

    #[test]
    fn what_was_never_acknowledged_surely_comes_again() {
        let mut filter = RedeliveryFilter::default();
        passed(&mut filter, 1, "xxxx", false);
        filter.acknowledging(2);
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "x", true), "");
        // Lost again, with one of the two still to come.
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "xxx", true), "x");
        filter.interrupted();
        filter.unsure();
        assert_eq!(passed(&mut filter, 1, "xxx", true), "xxx");
    }

    #[test]
    fn a_neighbour_with_other_content_is_new() {
        let mut filter = RedeliveryFilter::default();
        passed(&mut filter, 1, "aBc", false);
        filter.acknowledging(3);
        filter.interrupted();
        assert_eq!(passed(&mut filter, 1, "yBz", true), "yz");
    }
}
