//! What the parts of a plain client write down, whatever the broker.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::workload::Clock;

/// How often a plain client publishes.
pub(super) const EVERY: Duration = Duration::from_millis(50);

/// What the parts of a plain client share. Arrivals are few: 20 a second, as long as one event takes.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    clock: Clock,
    /// By lane: times in microseconds of the run's clock.
    arrivals: Arc<Mutex<Vec<Vec<u64>>>>,
    ended: Arc<AtomicBool>,
}

impl Notes {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            arrivals: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// A message of this lane (a partition, where there are several) arrived now.
    pub(super) fn arrived(&self, lane: usize) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() <= lane {
            arrivals.resize_with(lane + 1, Vec::new);
        }
        arrivals[lane].push(self.clock.now());
    }

    /// The client is to end; each part looks at least once a second.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Tells the client's parts to end.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// For each lane, when its messages arrived, in microseconds of the run's clock.
    pub(super) fn take(&self) -> Vec<Vec<u64>> {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *arrivals)
    }
}
