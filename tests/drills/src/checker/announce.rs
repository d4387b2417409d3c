//! Whether a loss was announced, and in time.

use super::index::{Index, Published};

/// Later than this after everything is whole again, an announcement is for something else: healing and noticing.
const AFTER_FAULT: u64 = 13_000_000;
/// After a later message of the same publisher has come, 3 s by the promise.
const AFTER_LATER: u64 = 3_500_000;
/// A client that gets what is older than this does not keep up.
pub(super) const BEHIND: u64 = 2_000_000;

/// A `gap`, or a `subscribed` that does not continue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announcement {
    pub(super) t: u64,
    /// It claims a loss: a client that gave no position was only told that nothing is known.
    pub(super) claims: bool,
    /// The client read what was sent long before: it could not be told earlier.
    pub(super) behind: bool,
    pub(super) used: bool,
}

/// What a client's channel went through.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) announcements: Vec<Announcement>,
    /// From `subscribed` to the connection's end.
    pub(super) attached: Vec<(u64, u64)>,
}

impl Course {
    /// The announcement that covers a lost message, and since when it could have been made.
    pub(super) fn covers(
        &mut self,
        lost: &Published,
        later: Option<u64>,
        index: &Index,
    ) -> Option<u64> {
        let done = if lost.done == u64::MAX {
            lost.sent
        } else {
            lost.done
        };
        let mut base = done.max(index.whole_after(lost.sent, done));
        if let Some(back) = self.back_after(lost.sent, done) {
            base = base.max(back);
        }
        let mut deadline = base.saturating_add(AFTER_FAULT);
        if let Some(later) = later {
            deadline = deadline.min(later.max(done).saturating_add(AFTER_LATER));
        }
        let first = self
            .announcements
            .iter_mut()
            .find(|one| one.t >= lost.sent)?;
        if first.t > deadline && !first.behind {
            return None;
        }
        first.used = true;
        Some(if first.behind {
            0
        } else {
            first.t.saturating_sub(base)
        })
    }

    /// When the client was subscribed again, if it was not all the time around then.
    fn back_after(&self, sent: u64, done: u64) -> Option<u64> {
        let whole = self
            .attached
            .iter()
            .any(|(from, to)| *from <= sent && *to >= done.saturating_add(5_000_000));
        if whole {
            return None;
        }
        self.attached
            .iter()
            .map(|(from, _)| *from)
            .find(|from| *from > sent)
    }
}
