//! An open instance of the second backend, as the hub holds it: the two tasks, and the history
//! beside them. All the work is done in [`crate::connection`], [`super::reader`] and
//! [`super::history`]; here errors get this backend's name.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use hubplane_backplane::{Backplane, Channel, History, Opened, Outgoing, Receipt, Result, events};

use super::{error::renamed, history::Past, known::LANE, reader::Reader};
use crate::{
    config::Config,
    connection::{EVENTS, Instance},
};

/// An instance whose receiving task follows the stream.
#[derive(Debug)]
struct Streams {
    instance: Instance,
    past: Past,
}

/// Opens an instance, within 14 s. Once it returns, every message that is published is delivered.
pub(crate) async fn open(config: Config) -> Result<Opened> {
    let (sender, events) = events(EVENTS);
    let read = async |shared| {
        let (reader, following, known) = Reader::open(&shared, sender.clone()).await?;
        Ok((reader.run(following).boxed(), Past::new(shared, known)))
    };
    let (instance, past) = Instance::open(config, read).await?;
    Ok(Opened {
        backplane: Arc::new(Streams { instance, past }),
        events,
    })
}

#[async_trait]
impl Backplane for Streams {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let answers = self.instance.publish(batch).await.into_iter();
        answers.map(|answer| answer.map_err(renamed)).collect()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.instance.subscribe(channels).map_err(renamed)
    }

    /// Needs nothing of the broker: this instance gets every channel's messages, and the hub passes
    /// on what is wanted.
    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    fn lane(&self, _channel: &str) -> Option<u32> {
        Some(LANE)
    }

    fn renew(&self) {
        self.instance.renew();
    }

    fn history(&self) -> Option<&dyn History> {
        Some(&self.past)
    }

    async fn close(&self) {
        // First, so that a read that is under way does not keep its connection.
        self.past.close();
        self.instance.close().await;
    }
}
