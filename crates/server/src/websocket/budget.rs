//! How much one socket may send: a bucket of bytes that fills at a steady rate.

use std::time::Instant;

use hubplane_hub::Limits;

/// What each frame costs besides its bytes, so that endless empty frames are not free.
const FRAME_COST: usize = 64;

/// One socket's bucket.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    filled: Instant,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bytes: limits.inbound_burst,
            filled: Instant::now(),
        }
    }

    /// Takes what a read brought. `false`: the client sends more than it may.
    pub(super) fn take(&mut self, bytes: usize, frames: usize, limits: &Limits) -> bool {
        let cost = bytes + frames * FRAME_COST;
        if cost > self.bytes {
            let now = Instant::now();
            let gained = (now - self.filled).as_secs_f64() * limits.inbound_bytes_per_second as f64;
            self.bytes = self
                .bytes
                .saturating_add(gained as usize)
                .min(limits.inbound_burst);
            self.filled = now;
        }
        let fits = cost <= self.bytes;
        self.bytes = self.bytes.saturating_sub(cost);
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let limits = Limits {
            inbound_burst: 1_000,
            inbound_bytes_per_second: 1,
            ..Limits::default()
        };
        let mut budget = Budget::new(&limits);
        assert!(budget.take(1_000, 0, &limits));
        assert!(!budget.take(100, 0, &limits));
        let mut budget = Budget::new(&limits);
        assert!(!budget.take(0, 1_000, &limits));
    }
}
