//! Which messages were handed over but perhaps not yet acknowledged, so that their second delivery can be told.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use hubplane_backplane::Publication;

/// Bounded by what the broker delivers ahead of acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct RedeliveryFilter {
    hasher: RandomState,
    /// Delivery tags of this connection, rising, with what was in them.
    open: VecDeque<(u64, u64)>,
    /// From connections before.
    before: HashSet<u64>,
}

impl RedeliveryFilter {
    /// Only what has a name of its own can be known again: two messages with the same bytes may be two messages.
    pub(crate) fn name(&self, publication: &Publication) -> Option<u64> {
        let (id, origin) = (&publication.id, &publication.origin);
        (id.is_some() || origin.is_some())
            .then(|| self.hasher.hash_one((&publication.channel, id, origin)))
    }

    /// Whether this delivery repeats one from before the connection was lost.
    pub(crate) fn is_repeat(&mut self, publication: &Publication, redelivered: bool) -> bool {
        if !redelivered {
            // What is delivered again comes first; from here on all is new.
            self.before.clear();
            return false;
        }
        let name = self.name(publication);
        name.is_some_and(|name| self.before.contains(&name))
    }

    pub(crate) fn handed_over(&mut self, tag: u64, name: u64) {
        self.open.push_back((tag, name));
    }

    /// The broker surely has the acknowledgement up to this tag.
    pub(crate) fn settled(&mut self, tag: u64) {
        while self.open.front().is_some_and(|(first, _)| *first <= tag) {
            self.open.pop_front();
        }
    }

    /// The connection is lost; what was open may come again.
    pub(crate) fn interrupted(&mut self) {
        self.before
            .extend(self.open.drain(..).map(|(_, name)| name));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn publication(id: Option<&str>) -> Publication {
        Publication {
            channel: "c".into(),
            data: Bytes::from_static(b"same"),
            position: None,
            id: id.map(Into::into),
            origin: None,
            tags: Vec::new(),
        }
    }

    #[test]
    fn only_what_was_open_is_a_repeat() {
        let (mut filter, [a, b, c]) = (
            RedeliveryFilter::default(),
            [Some("a"), Some("b"), Some("c")].map(publication),
        );
        for (tag, publication) in [(1, &a), (2, &b)] {
            let name = filter.name(publication).unwrap();
            filter.handed_over(tag, name);
        }
        filter.settled(1);
        filter.interrupted();
        assert!(!filter.is_repeat(&a, true));
        assert!(filter.is_repeat(&b, true));
        assert!(!filter.is_repeat(&c, true));
        assert!(!filter.is_repeat(&c, false));
        assert!(!filter.is_repeat(&b, true), "repeats come first");
    }

    #[test]
    fn what_has_no_name_is_never_a_repeat() {
        let mut filter = RedeliveryFilter::default();
        assert_eq!(filter.name(&publication(None)), None);
        assert!(!filter.is_repeat(&publication(None), true));
    }
}
