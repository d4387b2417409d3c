//! One instance, as the hub uses it.

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

/// How long the threads' end is waited for.
const CLOSE: Duration = Duration::from_secs(4);

/// See [`Backplane`].
#[derive(Debug)]
pub(crate) struct Instance {
    past: Past,
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Instance {
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

    fn open(&self) -> Result<()> {
        match self.shared.is_closed() {
            true => Err(closed()),
            false => Ok(()),
        }
    }
}

/// Without `close` the threads end too.
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

    /// The reading thread does it, and says when it is done by taking the flag down.
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
        // Everything of librdkafka's end blocks.
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
