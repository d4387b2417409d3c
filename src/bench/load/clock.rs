use std::{
    thread,
    time::{Duration, Instant},
};

/// Microseconds since the load began.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Clock(Instant);

impl Clock {
    pub(in crate::bench) fn start() -> Self {
        Self(Instant::now())
    }

    pub(in crate::bench) fn now(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    pub(in crate::bench) fn sleep_until(self, at: u64) {
        thread::sleep(Duration::from_micros(at.saturating_sub(self.now())));
    }
}
