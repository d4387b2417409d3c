//! Which channels' last numbers the next beacons are to tell, and which may be forgotten. No beacon looks at all channels.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

/// A channel that had a message within this time needs no beacon yet: its next message shows a hole.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// How often a channel's last number is told: a beacon may be lost as well.
pub(super) const TELLS: u8 = 3;
/// Channels that one beacon looks at, at most.
const LOOKED_AT: usize = 10_000;

/// What is to be done about a channel whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// It had a message just now.
    Busy,
    /// Its last number is to be told.
    Tell {
        number: u64,
        /// When it was used last, if it need not be told again.
        last: Option<Instant>,
    },
    /// It was forgotten.
    Gone,
}

/// The channels in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Tails {
    waiting: VecDeque<Channel>,
    /// Told often enough; since when nothing was published to them.
    quiet: VecDeque<(Instant, Channel)>,
}

impl Tails {
    /// A channel that doesn't wait yet has had a message.
    pub(super) fn wait(&mut self, channel: &Channel) {
        self.waiting.push_back(Channel::clone(channel));
    }

    /// The channels of the next beacon, with their numbers.
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

    /// The next channel that was told often enough and had nothing for so long when it was. It may have had something
    /// since then.
    pub(super) fn quiet_since(&mut self, now: Instant, keep: Duration) -> Option<Channel> {
        let (used, _) = self.quiet.front()?;
        if now.saturating_duration_since(*used) < keep {
            return None;
        }
        Some(self.quiet.pop_front()?.1)
    }
}
