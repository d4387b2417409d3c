//! An open instance of the first backend, as the hub holds it: a queue of its own for each
//! instance, and no history. All the work is done in [`crate::connection`] and the tasks behind it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use hubplane_backplane::{Backplane, Channel, History, Opened, Outgoing, Receipt, Result, events};

use crate::{
    config::Config,
    connection::{EVENTS, Instance},
    receiver::Receiver,
};

/// An instance whose receiving task reads a queue.
#[derive(Debug)]
struct Queues(Instance);

/// Opens an instance, within 14 s. Once it returns, every message that is published is delivered.
pub(crate) async fn open(config: Config) -> Result<Opened> {
    let (sender, events) = events(EVENTS);
    let read = async |shared| {
        let (receiver, reading) = Receiver::open(&shared, sender.clone()).await?;
        Ok((receiver.run(reading).boxed(), ()))
    };
    let (instance, ()) = Instance::open(config, read).await?;
    Ok(Opened {
        backplane: Arc::new(Queues(instance)),
        events,
    })
}

#[async_trait]
impl Backplane for Queues {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        self.0.publish(batch).await
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.0.subscribe(channels)
    }

    /// Needs nothing of the broker: this instance gets every channel's messages, and the hub passes
    /// on what is wanted.
    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    fn lane(&self, _channel: &str) -> Option<u32> {
        None
    }

    fn renew(&self) {
        self.0.renew();
    }

    fn history(&self) -> Option<&dyn History> {
        None
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
