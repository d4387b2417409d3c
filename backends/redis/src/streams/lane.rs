//! One stream from the reader's side: how far it was read, and whether it is still the same.

use hubplane_backplane::Position;

use super::log::{self, Info, Seen};

/// One stream, as far as it was read.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    /// None before the first look.
    pub(crate) token: Option<String>,
    pub(crate) at: u128,
    /// How many entries had been added with the one at `at`.
    pub(crate) added: u64,
    /// The offset that the hub was told last.
    pub(crate) told: Option<u128>,
}

impl Lane {
    pub(crate) fn position(&self, offset: u128) -> Position {
        Position {
            epoch: self.token.as_deref().map_or(0, log::epoch),
            lane: self.number,
            offset,
        }
    }

    /// Whether nothing was cut off of what is still to be read, which is `new` of the stream's `length` entries. It is cut
    /// from its old end, and something older is still there.
    pub(crate) const fn is_whole(&self, length: u64, new: u64) -> bool {
        length > new || length == 0 && self.added == 0
    }

    pub(crate) fn judge(&self, seen: &Seen) -> Verdict {
        let Info {
            last,
            added,
            length,
            ..
        } = seen.info;
        let Some(token) = &seen.token else {
            return Verdict::Unsigned;
        };
        if self.token.as_ref() != Some(token) {
            return Verdict::Other;
        }
        let read = self.added.saturating_add(seen.entries.len() as u64);
        if added < self.added || last < self.at || read > added {
            return Verdict::RolledBack;
        }
        match length < added - self.added {
            true => Verdict::Trimmed,
            false => Verdict::Same,
        }
    }
}

/// What a stream is to what was read of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    /// Of what is still to be read, some is gone.
    Trimmed,
    /// Another log.
    Other,
    /// It has no token: it was removed, or is new.
    Unsigned,
    /// It has less than was read of it, and still its token.
    RolledBack,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(at: u128, added: u64) -> Lane {
        Lane {
            number: 0,
            token: Some("t".to_owned()),
            at,
            added,
            told: None,
        }
    }

    #[test]
    fn a_stream_is_judged_by_its_counters() {
        let judge = |token: Option<&str>, last, added, length| {
            let info = Info {
                last,
                added,
                length,
                first: 0,
            };
            let token = token.map(str::to_owned);
            let entries = Vec::new();
            lane(50, 5).judge(&Seen {
                token,
                info,
                entries,
            })
        };
        assert_eq!(judge(Some("t"), 50, 5, 0), Verdict::Same);
        assert_eq!(judge(Some("t"), 90, 9, 4), Verdict::Same);
        assert_eq!(judge(Some("t"), 90, 9, 3), Verdict::Trimmed);
        assert_eq!(judge(Some("t"), 40, 4, 4), Verdict::RolledBack);
        assert_eq!(judge(Some("t"), 40, 9, 9), Verdict::RolledBack);
        assert_eq!(judge(Some("u"), 50, 5, 5), Verdict::Other);
        assert_eq!(judge(None, 0, 0, 0), Verdict::Unsigned);
    }

    #[test]
    fn an_older_entry_shows_that_nothing_new_was_cut_off() {
        assert!(lane(50, 5).is_whole(3, 2));
        assert!(!lane(50, 5).is_whole(2, 2));
        assert!(!lane(50, 5).is_whole(0, 0));
        assert!(lane(0, 0).is_whole(0, 0));
        assert!(!lane(0, 0).is_whole(2, 2));
    }
}
