//! Decides which channels' last numbers the next beacons tell, and which counts may be forgotten.
//! Pure.
//!
//! No beacon looks at all channels: those that wait stand in a queue and have their turns, and each
//! is in one of the two queues at most.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

/// A channel that had a message within this time needs no beacon yet: its next message shows a
/// hole.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// How often a channel's last number is told, since a beacon may be lost as well.
pub(super) const TELLS: u8 = 3;
/// The most channels that one beacon looks at.
const LOOKED_AT: usize = 10_000;

/// What to do about a channel whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// It had a message just now, so its turn comes later.
    Busy,
    /// Its last number is to be told in this beacon.
    Tell {
        number: u64,
        /// When it was used last, if it need not be told again.
        last: Option<Instant>,
    },
    /// Its count was forgotten.
    Gone,
}

/// The channels with something to tell, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Tails {
    waiting: VecDeque<Channel>,
    /// Channels that were told often enough, and when each was used last.
    quiet: VecDeque<(Instant, Channel)>,
}

impl Tails {
    /// Lets a channel wait for its turn. It must not wait already.
    pub(super) fn wait(&mut self, channel: &Channel) {
        self.waiting.push_back(Channel::clone(channel));
    }

    /// Returns the channels of the next beacon with their numbers, at most `most`. `turn` decides
    /// about each.
    pub(super) fn take(
        &mut self,
        most: usize,
        mut turn: impl FnMut(&Channel) -> Turn,
    ) -> Vec<(Channel, u64)> {
        let mut told = Vec::new();
        for _ in 0..self.waiting.len().min(LOOKED_AT) {
            if told.len() >= most {
                break;
            }
            let Some(channel) = self.waiting.pop_front() else {
                break;
            };
            match turn(&channel) {
                Turn::Gone => {}
                Turn::Busy => self.waiting.push_back(channel),
                Turn::Tell { number, last } => {
                    told.push((Channel::clone(&channel), number));
                    match last {
                        Some(used) => self.quiet.push_back((used, channel)),
                        None => self.waiting.push_back(channel),
                    }
                }
            }
        }
        told
    }

    /// Returns the next channel that was told often enough and had been quiet for `keep`. It may
    /// have had a message since then, which the caller must check.
    pub(super) fn quiet_since(&mut self, now: Instant, keep: Duration) -> Option<Channel> {
        let (used, _) = self.quiet.front()?;
        if now.saturating_duration_since(*used) < keep {
            return None;
        }
        Some(self.quiet.pop_front()?.1)
    }
}
