//! Whether a loss was announced, and in time.

use super::index::{Index, Published};

/// Later than this after everything is whole again, an announcement is for something else: healing and noticing.
/// Microseconds.
const AFTER_FAULT: u64 = 13_000_000;
/// After a later message of the same publisher has come, 3 s by the promise.
/// Microseconds; half a second more than promised, for the clients' own delays.
const AFTER_LATER: u64 = 3_500_000;
/// A client that gets what is older than this does not keep up.
/// Microseconds.
pub(super) const BEHIND: u64 = 2_000_000;

/// A `gap`, or a `subscribed` that does not continue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announcement {
    /// When it came, in microseconds of the run's clock.
    pub(super) t: u64,
    /// It claims a loss: a client that gave no position was only told that nothing is known.
    pub(super) claims: bool,
    /// The client read what was sent long before: it could not be told earlier.
    pub(super) behind: bool,
    /// It has covered a lost message; what covers none is a false gap.
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
    ///
    /// `later` is when a later message of the same publisher came, if one did. Returns how long
    /// after everything was whole it came, in microseconds; `None` if it came too late or not at
    /// all.
    pub(super) fn covers(
        &mut self,
        lost: &Published,
        later: Option<u64>,
        index: &Index,
    ) -> Option<u64> {
        // A message that was never answered counts from when it was sent.
        let done = if lost.done == u64::MAX {
            lost.sent
        } else {
            lost.done
        };
        // Nobody can be told before the fault is over and the client is back.
        let mut base = done.max(index.whole_after(lost.sent, done));
        if let Some(back) = self.back_after(lost.sent, done) {
            base = base.max(back);
        }
        let mut deadline = base.saturating_add(AFTER_FAULT);
        // A later message reveals the hole at once, whatever the fault still does.
        if let Some(later) = later {
            deadline = deadline.min(later.max(done).saturating_add(AFTER_LATER));
        }
        // The first one since the message was sent: an earlier one was for something else.
        let first = self
            .announcements
            .iter_mut()
            .find(|one| one.t >= lost.sent)?;
        // A client that lags behind could not have read it earlier.
        if first.t > deadline && !first.behind {
            return None;
        }
        first.used = true;
        // How late it came says nothing if the client did not read.
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
            // 5 s more: who left soon after may not have been sent the message.
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
