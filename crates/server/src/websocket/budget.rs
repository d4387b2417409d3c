//! How much one socket may send: a bucket of bytes, and a bucket of frames without content. Both
//! fill at a steady rate and are full at the start, so a burst passes.
//!
//! A client that empties the bucket of bytes is not read until it is out of debt: TCP holds it
//! back, and nothing of what it sent is lost. A client that empties the other bucket floods, and is
//! cut off.
//!
//! The limits are in the hub's `Limits` (`inbound_bytes_per_second`, `inbound_burst`, their
//! `inbound_key_…` variants, and `empty_frames`). This file only counts; `session.rs` acts on it.

use std::time::{Duration, Instant};

use hubplane_hub::Limits;

/// What each frame costs besides its bytes, so that small ones are not free.
const FRAME_COST: usize = 64;
/// Seconds in which an empty bucket of frames without content is full again.
const EMPTY_FRAMES_SECONDS: f64 = 16.0;
/// A hold is longer by this than the debt needs, so that the debt is paid for certain when its timer ends.
const MARGIN: Duration = Duration::from_millis(2);

/// One socket's buckets.
#[derive(Debug)]
pub(super) struct Budget {
    filled: Instant,
    /// Below zero: the client is in debt.
    bytes: i32,
    empty_frames: u16,
    /// The client showed the hub's key, and may send faster.
    with_key: bool,
}

impl Budget {
    /// Returns full buckets. `with_key` chooses the rate and the burst of clients that showed the
    /// hub's key.
    pub(super) fn new(with_key: bool, limits: &Limits) -> Self {
        let mut full = Self {
            filled: Instant::now(),
            bytes: 0,
            empty_frames: empty_frames(limits),
            with_key,
        };
        full.bytes = full.most(limits);
        full
    }

    /// Takes what was read and carried out. The bucket may go below zero, since what has arrived is
    /// carried out.
    pub(super) fn take(&mut self, bytes: usize, frames: usize) {
        let cost = i32::try_from(bytes + frames * FRAME_COST).unwrap_or(i32::MAX);
        self.bytes = self.bytes.saturating_sub(cost);
    }

    /// Takes one ping, pong or empty message. Returns false if the client floods.
    pub(super) fn take_empty_frame(&mut self, limits: &Limits) -> bool {
        if self.empty_frames == 0 {
            self.fill(limits);
        }
        let left = self.empty_frames.checked_sub(1);
        self.empty_frames = left.unwrap_or_default();
        left.is_some()
    }

    /// Returns how long the client must not be read, or `None` if it may be read now.
    pub(super) fn hold(&mut self, limits: &Limits) -> Option<Duration> {
        if self.bytes >= 0 {
            return None;
        }
        self.fill(limits);
        // The bucket may have been filled above zero just now; then there is no debt.
        let debt = self.bytes.checked_neg().filter(|debt| *debt > 0)?;
        let wait = Duration::from_secs_f64(f64::from(debt) / self.rate(limits));
        Some(wait + MARGIN)
    }

    /// Adds what was earned since the last time, up to the burst.
    fn fill(&mut self, limits: &Limits) {
        let now = Instant::now();
        let seconds = (now - self.filled).as_secs_f64();
        self.filled = now;
        let bytes = f64::from(self.bytes) + seconds * self.rate(limits);
        self.bytes = (bytes as i32).min(self.most(limits));
        let most = empty_frames(limits);
        let earned = seconds * f64::from(most) / EMPTY_FRAMES_SECONDS;
        self.empty_frames = self.empty_frames.saturating_add(earned as u16).min(most);
    }

    /// Bytes per second.
    fn rate(&self, limits: &Limits) -> f64 {
        match self.with_key {
            true => limits.inbound_key_bytes_per_second as f64,
            false => limits.inbound_bytes_per_second as f64,
        }
    }

    /// The most bytes that the bucket holds.
    fn most(&self, limits: &Limits) -> i32 {
        let burst = match self.with_key {
            true => limits.inbound_key_burst,
            false => limits.inbound_burst,
        };
        i32::try_from(burst).unwrap_or(i32::MAX)
    }
}

fn empty_frames(limits: &Limits) -> u16 {
    u16::try_from(limits.empty_frames).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            inbound_burst: 1_000,
            inbound_bytes_per_second: 100,
            inbound_key_burst: 1_000,
            inbound_key_bytes_per_second: 1_000,
            empty_frames: 8,
            ..Limits::default()
        }
    }

    #[test]
    fn a_client_in_debt_is_held_back_until_it_has_earned_it() {
        for (with_key, seconds) in [(false, 5.0), (true, 0.5)] {
            let mut budget = Budget::new(with_key, &limits());
            budget.take(1_000, 0);
            assert_eq!(budget.hold(&limits()), None, "a burst passes");
            budget.take(500, 0);
            let hold = budget.hold(&limits()).unwrap().as_secs_f64();
            assert!((seconds * 0.9..=seconds + 0.002).contains(&hold), "{hold}");
            budget.filled = budget.filled.checked_sub(Duration::from_secs(6)).unwrap();
            assert_eq!(budget.hold(&limits()), None);
        }
        let mut budget = Budget::new(false, &limits());
        budget.take(0, 1_000);
        assert!(budget.hold(&limits()).is_some(), "frames cost, too");
    }

    #[test]
    fn only_many_empty_frames_at_once_are_a_flood() {
        let mut budget = Budget::new(false, &limits());
        for _ in 0..8 {
            assert!(budget.take_empty_frame(&limits()));
        }
        assert!(!budget.take_empty_frame(&limits()));
        for _ in 0..20 {
            budget.filled = budget.filled.checked_sub(Duration::from_secs(2)).unwrap();
            assert!(budget.take_empty_frame(&limits()), "one in two seconds");
        }
    }
}
