//! One stream from the reader's side: how far it was read, and whether what Redis shows now is
//! still the same log.
//!
//! Pure: states come in, a verdict goes out; the reader acts on it. It is needed because Redis says
//! nothing when a stream is restored from a backup, loses its end in a failover, or is cut while
//! nobody looks.

use hubplane_backplane::Position;

use super::log::{self, Info, Seen};

/// How far one stream was read.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    /// The token of the log that was read; `None` before the first look.
    pub(crate) token: Option<String>,
    /// All entries up to here were read, or need not be.
    pub(crate) at: u128,
    /// The entry that was given out last.
    pub(crate) last: Option<u128>,
    /// How many entries had ever been added to the stream, up to and with the one at `at`.
    pub(crate) added: u64,
    /// The offset that the hub was told last.
    pub(crate) told: Option<u128>,
}

impl Lane {
    /// Returns a lane before the first look: its place is behind every entry, so that nothing is
    /// read by it.
    pub(crate) const fn new(number: u32) -> Self {
        Self {
            number,
            token: None,
            at: u128::MAX,
            last: None,
            added: 0,
            told: None,
        }
    }

    /// Returns the position of an offset in this lane's log.
    pub(crate) fn position(&self, offset: u128) -> Position {
        Position {
            epoch: self.token.as_deref().map_or(0, log::epoch),
            lane: self.number,
            offset,
        }
    }

    /// Returns true if nothing was cut off of what is still to be read, which is `new` of the
    /// stream's `length` entries. A stream is cut from its old end, so it is enough that something
    /// older is still there.
    pub(crate) const fn is_whole(&self, length: u64, new: u64) -> bool {
        length > new || length == 0 && self.added == 0
    }

    /// Says what the stream, as it was seen, is to what was read of it before. Both are counted: a
    /// log that lost entries and grew again has an old token and a new end, but too few additions,
    /// or it lacks the entry that was read last.
    pub(crate) fn judge(&self, seen: &Seen) -> Verdict {
        let Info {
            last,
            added,
            length,
            first,
        } = seen.info;
        let Some(token) = &seen.token else {
            return Verdict::Unsigned;
        };
        if self.token.as_ref() != Some(token) {
            return Verdict::Other;
        }
        // All that was read, with what is seen now: no more than was ever added, unless additions
        // were undone.
        let read = self.added.saturating_add(seen.entries.len() as u64);
        if added < self.added || last < self.at || read > added {
            return Verdict::RolledBack;
        }
        // The entry that was read last must be there, unless it was cut off: then it is older than
        // all that is there.
        let in_range = |id| length > 0 && id >= first;
        if !seen.last_is_there && self.last.is_some_and(in_range) {
            return Verdict::RolledBack;
        }
        // What was added since the last read and is no longer there was cut off unread.
        match length < added - self.added {
            true => Verdict::Trimmed,
            false => Verdict::Same,
        }
    }
}

/// What a stream is to what was read of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same log, and nothing of what is still to be read is gone.
    Same,
    /// Of what is still to be read, some is gone.
    Trimmed,
    /// Another log: somebody has given it another token.
    Other,
    /// It has no token: it was removed, or is new.
    Unsigned,
    /// It lacks what was read of it, and has still its token.
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
            last: Some(at),
            added,
            ..Lane::new(0)
        }
    }

    #[test]
    fn a_stream_is_judged_by_its_counters() {
        let judge = |token: Option<&str>, (first, last), added, length, last_is_there| {
            let info = Info {
                last,
                added,
                length,
                first,
            };
            lane(50, 5).judge(&Seen {
                token: token.map(str::to_owned),
                info,
                last_is_there,
                entries: Vec::new(),
            })
        };
        let ours = Some("t");
        assert_eq!(judge(ours, (10, 50), 5, 5, true), Verdict::Same);
        assert_eq!(judge(ours, (0, 50), 5, 0, false), Verdict::Same);
        assert_eq!(judge(ours, (60, 90), 9, 4, false), Verdict::Same);
        assert_eq!(judge(ours, (70, 90), 9, 3, false), Verdict::Trimmed);
        assert_eq!(judge(ours, (10, 40), 4, 4, false), Verdict::RolledBack);
        assert_eq!(judge(ours, (10, 40), 9, 9, false), Verdict::RolledBack);
        assert_eq!(judge(ours, (10, 90), 9, 9, false), Verdict::RolledBack);
        assert_eq!(judge(Some("u"), (10, 50), 5, 5, true), Verdict::Other);
        assert_eq!(judge(None, (0, 0), 0, 0, false), Verdict::Unsigned);
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
