use std::{
    thread,
    time::{Duration, Instant},
};

/// Microseconds since the load began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    pub(crate) fn sleep_until(self, at: u64) {
        thread::sleep(Duration::from_micros(at.saturating_sub(self.now())));
    }
}
