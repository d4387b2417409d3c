//! The place where the consumer that reads back waits for its next use.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::client::Consumer;

/// An unused consumer is given up after this.
const IDLE: Duration = Duration::from_secs(60);
/// What librdkafka has to say to an unused consumer is listened to in steps of so many.
const SAYINGS: usize = 100;

/// A consumer that has read back before.
pub(crate) struct Warm {
    pub(crate) consumer: Consumer,
    /// Of the log that it knows.
    pub(crate) epoch: u64,
    pub(crate) used: Instant,
}

/// The place where the consumer waits.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Warm>>);

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Slot {
    pub(crate) fn locked(&self) -> MutexGuard<'_, Option<Warm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called each second, since what librdkafka has to say is queued until it is listened to.
    pub(crate) fn tend(&self) {
        let Ok(mut slot) = self.0.try_lock() else {
            return;
        };
        match &*slot {
            Some(warm) if warm.used.elapsed() < IDLE => {
                let mut sayings = 0;
                while sayings < SAYINGS && warm.consumer.poll(Duration::ZERO).is_some() {
                    sayings += 1;
                }
            }
            _ => drop(slot.take()),
        }
    }

    /// Ends the consumer, once the read that is under way has seen that the instance is closed. Blocks.
    pub(crate) fn close(&self) {
        drop(self.locked().take());
    }
}
