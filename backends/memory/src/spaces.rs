//! What it takes to try this backend: a space is a named log in this process. It leaves nothing behind.

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver, Leaving, Outgoing, Result, Spaces};

use crate::{MemoryDriver, config::Config, log::MAX_MESSAGES};

#[async_trait]
impl Spaces for MemoryDriver {
    /// The name is put behind that of the address, or is the whole name if the address has none.
    fn within(&self, address: &Address, name: &str) -> Address {
        let name = match address.hosts() {
            [] => name.to_owned(),
            [host, ..] => format!("{}-{name}", host.name),
        };
        address.clone().at(name, None)
    }

    /// Nothing: a log ends with its last instance.
    fn leaves(&self, _: &Address) -> Vec<Leaving> {
        Vec::new()
    }

    /// Nothing is left to remove.
    async fn remove(&self, _: &Address) -> Result<()> {
        Ok(())
    }

    /// Publishes through an instance of its own: no other program has a way in.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        publish(self, address, vec![Outgoing::new(channel, data.to_vec())]).await
    }

    /// Appends one message more than the log keeps.
    async fn trim(&self, address: &Address) -> Result<()> {
        let most = Config::read(address)?.max_messages.unwrap_or(MAX_MESSAGES);
        let fillers = (0..=most).map(|_| Outgoing::new("filler", "x")).collect();
        publish(self, address, fillers).await
    }
}

/// Opens a log for one batch. It must be shared with an open instance, or it ends with this call.
async fn publish(driver: &MemoryDriver, address: &Address, batch: Vec<Outgoing>) -> Result<()> {
    let opened = driver.open(address).await?;
    let answers = opened.backplane.publish(batch).await;
    opened.backplane.close().await;
    answers.into_iter().try_for_each(|answer| answer.map(drop))
}
