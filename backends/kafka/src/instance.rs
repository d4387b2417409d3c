//! One instance, as the hub uses it: each call goes to the part that does the work. Nothing is
//! decided here.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{Backplane, Channel, History, Outgoing, Receipt, Result};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    CAPABILITIES, NAME, failure::closed, history::Past, partition, publish::Publisher,
    shared::Shared,
};

/// How long `close` waits for the threads' end.
const CLOSE: Duration = Duration::from_secs(4);

/// An open instance. See [`Backplane`].
#[derive(Debug)]
pub(crate) struct Instance {
    past: Past,
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Instance {
    /// Returns the instance whose `threads` run already. `close` waits for them.
    pub(crate) fn new(
        shared: Arc<Shared>,
        publisher: Publisher,
        threads: Vec<JoinHandle<()>>,
    ) -> Self {
        Self {
            past: Past::new(Arc::clone(&shared)),
            shared,
            publisher: Arc::new(publisher),
            threads: Mutex::new(threads),
        }
    }

    /// Returns the error `Closed` after `close`.
    fn open(&self) -> Result<()> {
        match self.shared.is_closed() {
            true => Err(closed()),
            false => Ok(()),
        }
    }
}

/// An instance that is dropped without `close` ends its threads, too, but does not wait for them.
impl Drop for Instance {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Backplane for Instance {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        if self.shared.is_closed() {
            return batch.iter().map(|_| Err(closed())).collect();
        }
        self.publisher.publish(&self.shared, &batch).await
    }

    /// Every instance reads every channel, so there is nothing to ask the broker for; only the name
    /// is checked.
    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.open()?;
        channels
            .iter()
            .try_for_each(|channel| CAPABILITIES.check(NAME, channel, 0))
    }

    async fn unsubscribe(&self, _: &[Channel]) -> Result<()> {
        self.open()
    }

    fn lane(&self, channel: &str) -> Option<u32> {
        Some(partition::of(
            channel.as_bytes(),
            self.shared.layout().partitions,
        ))
    }

    /// Asks the reading thread to read with a new consumer. It takes the flag down when it has done
    /// so.
    fn renew(&self) {
        self.shared.renew.store(true, Ordering::Relaxed);
    }

    fn history(&self) -> Option<&dyn History> {
        Some(&self.past)
    }

    async fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let (publisher, shared) = (Arc::clone(&self.publisher), Arc::clone(&self.shared));
        // The end of librdkafka's clients blocks, so it runs off the runtime.
        let ended = spawn_blocking(move || {
            publisher.close();
            shared.replay.close();
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the kafka backend has panicked");
                }
            }
            shared.ended();
        });
        if timeout(CLOSE, ended).await.is_err() {
            tracing::warn!("the kafka threads have not ended in time; they end by themselves");
        }
    }
}
