//! The place where the consumer that reads back waits for its next use.
//!
//! Whoever holds the lock has the consumer, so a reading holds it from beginning to end. The
//! watching thread tends the consumer meanwhile, and must never wait for a reading.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::client::Consumer;

/// After this time an unused consumer is given up, with its connections and threads.
const IDLE: Duration = Duration::from_secs(60);
/// How many of librdkafka's messages one call of [`Slot::tend`] takes at most.
const SAYINGS: usize = 100;

/// A consumer that has read back before.
pub(crate) struct Warm {
    pub(crate) consumer: Consumer,
    /// The epoch of the log that the consumer knows. For another one it is no longer used.
    pub(crate) epoch: u64,
    pub(crate) used: Instant,
}

/// The place where the consumer waits; empty before the first read.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Warm>>);

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Slot {
    /// Locks the slot. Blocks while a read is under way.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Option<Warm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a waiting consumer, or gives it up. Called each second by the watching thread,
    /// because librdkafka queues what it has to say until somebody polls.
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
