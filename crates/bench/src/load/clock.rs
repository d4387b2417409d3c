//! The one clock of a measurement.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Microseconds since the load began. Monotonic, so a time that the system sets anew does not change a latency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts a clock at 0.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the microseconds since the start.
    pub(crate) fn now(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    /// Blocks this thread until then; returns at once if that is past.
    pub(crate) fn sleep_until(self, at: u64) {
        thread::sleep(Duration::from_micros(at.saturating_sub(self.now())));
    }
}
