//! What the parts of an instance share: where it reads, and how it is doing.
//!
//! The reading thread, the watching thread, the publisher and the history all see this, and talk to
//! each other by it. How librdkafka's clients are made is known here, so that all get the same
//! context.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hubplane_backplane::{Event, EventSender};
use rdkafka::{config::FromClientConfigAndContext, error::KafkaError};

use crate::{
    client::{Consumer, Offsets, Producer},
    config::Config,
    context::{Context, Trouble},
    identity::Identity,
    slot::Slot,
};

/// How often a thread that waits for room checks whether it may go on.
const PAUSE: Duration = Duration::from_millis(2);

/// How far the reading has come.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The next offset of each partition: everything before it was given to the hub.
    pub(crate) next: Offsets,
    /// Below these the log holds nothing more to read: where it ends in records that are for nobody, such as the
    /// marks of a transaction, `next` stays behind the end.
    pub(crate) empty: Offsets,
    /// The partitions that have given a sign of life since the last assignment.
    pub(crate) heard: BTreeSet<i32>,
}

/// How the log is cut, and which one it is. The two change together, so they are read and set in one step: nobody ever
/// names a partition of one log by the epoch of another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    /// How many partitions the topic has.
    pub(crate) partitions: u32,
    /// The epoch of all positions.
    pub(crate) epoch: u64,
}

/// The state of one instance.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) identity: Arc<Identity>,
    layout: Mutex<Layout>,
    places: Mutex<Places>,
    /// For each partition the offset behind the last record that the broker has acknowledged to
    /// this instance.
    acknowledged: Mutex<Offsets>,
    /// The broker is away, as the watching thread sees it. Publishing and reading back are then
    /// refused at once.
    pub(crate) down: AtomicBool,
    /// An offset was outside its partition's log. The reading thread waits until the watching
    /// thread has asked for the ends.
    pub(crate) lost: AtomicBool,
    /// `close` was called, or the instance was dropped: all threads end.
    pub(crate) closed: AtomicBool,
    /// The reading thread waits for the hub to take a batch, so that it does not move now is no
    /// sign of deafness.
    pub(crate) held: AtomicBool,
    /// The topic is compacted, so what was published can't be read back for certain.
    pub(crate) compacted: AtomicBool,
    /// The partitions that take nothing since too few of their replicas are in sync, and the reason for each.
    short: Mutex<BTreeMap<i32, String>>,
    /// The hub wants the reading thread to read with a new consumer.
    pub(crate) renew: AtomicBool,
    /// Where the consumer that reads back waits between two reads.
    pub(crate) replay: Slot,
    /// Threads that end clients which are no longer used.
    endings: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// Returns the state of an instance that has not connected yet.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            identity: Arc::new(Identity::new(&config.topic)),
            config,
            trouble: Arc::default(),
            layout: Mutex::default(),
            places: Mutex::default(),
            acknowledged: Mutex::default(),
            down: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            held: AtomicBool::new(false),
            compacted: AtomicBool::new(false),
            short: Mutex::default(),
            renew: AtomicBool::new(false),
            replay: Slot::default(),
            endings: Mutex::default(),
        }
    }

    /// Returns which log this is, and how it is cut.
    pub(crate) fn layout(&self) -> Layout {
        *self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the layout. Only the reading thread does, and whoever opens the instance, so no change
    /// is lost.
    pub(crate) fn set_layout(&self, layout: Layout) {
        *self.layout.lock().unwrap_or_else(PoisonError::into_inner) = layout;
    }

    /// Locks the places.
    pub(crate) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks what was acknowledged.
    pub(crate) fn acknowledged(&self) -> MutexGuard<'_, Offsets> {
        let acknowledged = self.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the broker has acknowledged what lies before `upto`, unless the log of that epoch was replaced meanwhile:
    /// an offset of the old log, held against the end of the new one, would look like an open transaction.
    pub(crate) fn acknowledge(&self, epoch: u64, partition: i32, upto: i64) {
        let mut acknowledged = self.acknowledged();
        if self.layout().epoch == epoch {
            let known = acknowledged.entry(partition).or_default();
            *known = upto.max(*known);
        }
    }

    /// Locks the partitions with too few replicas in sync.
    pub(crate) fn short(&self) -> MutexGuard<'_, BTreeMap<i32, String>> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Hands an event to the hub, waiting for room for as long as the instance is open. Returns false if it is closed.
    pub(crate) fn send(&self, events: &EventSender, event: Event) -> bool {
        let mut event = event;
        while !self.is_closed() {
            match events.try_send(event) {
                Ok(()) => return true,
                Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return false,
                Err(tokio::sync::mpsc::error::TrySendError::Full(back)) => event = back,
            }
            thread::sleep(PAUSE);
        }
        false
    }

    /// Ends a client of librdkafka on another thread, since that can take a while.
    /// [`Shared::ended`] waits for it, so that nothing of librdkafka runs any more when the process
    /// exits.
    pub(crate) fn end_aside(&self, end: impl FnOnce() + Send + 'static) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        endings.retain(|thread| !thread.is_finished());
        endings.push(thread::spawn(end));
    }

    /// Waits until the clients that are no longer used have ended. Blocks.
    pub(crate) fn ended(&self) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in endings.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a client of librdkafka has panicked at its end");
            }
        }
    }

    /// Makes the consumer that reads what is published.
    pub(crate) fn consumer(&self) -> Result<Consumer, KafkaError> {
        Consumer::from_config_and_context(&self.config.consumer(), self.context(None))
    }

    /// Makes a consumer that reads back. Its troubles are not the instance's: nobody listens to it
    /// all the time.
    pub(crate) fn replay_consumer(&self) -> Result<Consumer, KafkaError> {
        let context = Context {
            trouble: Arc::default(),
            identity: None,
        };
        Consumer::from_config_and_context(&self.config.replay(), context)
    }

    /// Makes the consumer that watches and reads nothing. Its debug log tells the topic's id.
    pub(crate) fn probe(&self) -> Result<Consumer, KafkaError> {
        let identity = Some(Arc::clone(&self.identity));
        Consumer::from_config_and_context(&self.config.probe(), self.context(identity))
    }

    /// Makes a producer.
    pub(crate) fn producer(&self) -> Result<Producer, KafkaError> {
        Producer::from_config_and_context(&self.config.producer(), self.context(None))
    }

    fn context(&self, identity: Option<Arc<Identity>>) -> Context {
        Context {
            trouble: Arc::clone(&self.trouble),
            identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_acknowledgement_of_a_replaced_log_is_not_noted() {
        let address = "kafka://127.0.0.1:1".parse().unwrap();
        let shared = Shared::new(Config::read(&address).unwrap());
        let layout = |epoch| Layout {
            partitions: 1,
            epoch,
        };
        shared.set_layout(layout(1));
        shared.acknowledge(1, 0, 900);
        shared.acknowledge(1, 0, 800);
        assert_eq!(shared.acknowledged().get(&0), Some(&900));
        shared.set_layout(layout(2));
        shared.acknowledged().clear();
        shared.acknowledge(1, 0, 901);
        assert_eq!(shared.acknowledged().get(&0), None);
        shared.acknowledge(2, 0, 3);
        assert_eq!(shared.acknowledged().get(&0), Some(&3));
    }
}
