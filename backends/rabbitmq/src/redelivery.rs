//! Drops what the broker delivers a second time.
//!
//! When a connection is lost, the broker puts back what was not acknowledged, in its old order, and
//! delivers it first on the next connection, marked as redelivered
//! (<https://www.rabbitmq.com/docs/consumers#message-properties>). A part of it was handed over
//! already, and is found out in three ways:
//!
//! - What was surely never acknowledged surely comes again, first and in its order. So the first
//!   ones are counted off.
//! - A message with an id or an origin is known by that.
//! - A message with neither is known by its place: next to one that is known, with the same
//!   content.
//!
//! If none of these helps, the message is handed over again, since two equal messages may be two
//! messages. Pure: no connection here, and no time.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use hubplane_backplane::Publication;

/// Messages that are remembered: four times what the broker delivers ahead of acknowledgements, for
/// connections that break again and again.
const MOST: usize = 4_000;

/// What a message is known by. A hash with a random key, so that nobody can make two messages look
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    hash: u64,
    /// Whether the message has an id or an origin.
    named: bool,
}

/// Knows what was handed over and is perhaps not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct RedeliveryFilter {
    hasher: RandomState,
    /// What was handed over on this connection, by rising delivery tags.
    open: VecDeque<(u64, Mark)>,
    /// What was handed over on the connections before, in the order of the queue.
    before: Vec<Mark>,
    /// Where the named ones stand in `before`.
    named: HashMap<u64, usize>,
    /// The highest tag that may have been acknowledged on this connection.
    acknowledged: u64,
    /// How many of the next redelivered messages were surely handed over.
    sure: usize,
    /// Where the next redelivered message stands in `before`, once one of them has been found there.
    next: Option<usize>,
}

impl RedeliveryFilter {
    /// Returns what a message is known by. Without a name that is its whole content.
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

    /// Returns true if only the messages that come next may tell whether this redelivered one was
    /// handed over.
    pub(crate) fn is_unsure(&self, mark: Mark) -> bool {
        self.next.is_none() && !mark.named && !self.named.is_empty()
    }

    /// Returns for each message whether it was handed over before. Each comes with its mark and
    /// whether the broker says that it is redelivered. To be called with everything that arrives,
    /// in its order.
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
            // A named message is found anywhere; an unnamed one only where the last one was found,
            // one further.
            let place = match mark.named {
                true => self.named.get(&mark.hash).copied(),
                false => self
                    .next
                    .filter(|next| self.before.get(*next) == Some(mark)),
            };
            self.next = place.map(|place| place + 1);
            let Some(place) = place else { continue };
            repeats[index] = true;
            // What came just before it in this batch stands just before it in that order: so a name
            // also tells what the unnamed messages in front of it are.
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

    /// Notes a message that was handed over, or dropped as a repetition: in both cases it may come
    /// again.
    pub(crate) fn taken(&mut self, tag: u64, mark: Mark) {
        self.open.push_back((tag, mark));
    }

    /// Notes that an acknowledgement up to this tag may have been sent.
    pub(crate) fn acknowledging(&mut self, tag: u64) {
        self.acknowledged = tag;
    }

    /// Notes that the broker has dropped messages, or that the queue is another one: what comes
    /// next may not be what was handed over, so nothing is counted off.
    pub(crate) fn unsure(&mut self) {
        self.sure = 0;
    }

    /// Notes that the broker surely has the acknowledgement up to this tag: nothing of it comes
    /// again.
    pub(crate) fn settled(&mut self, tag: u64) {
        while self.open.front().is_some_and(|(first, _)| *first <= tag) {
            self.open.pop_front();
        }
    }

    /// Notes that the connection is lost: what was open may come again, and behind it what was to
    /// come again and has not.
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

    /// Forgets the connections before: everything of theirs has come.
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
