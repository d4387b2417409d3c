//! An open instance of the first backend, with a queue of its own.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use hubplane_backplane::{Backplane, Channel, History, Opened, Outgoing, Receipt, Result, events};

use crate::{
    config::Config,
    connection::{EVENTS, Instance},
    receiver::Receiver,
};

/// See the module.
#[derive(Debug)]
struct Queues(Instance);

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
