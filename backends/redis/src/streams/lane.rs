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
