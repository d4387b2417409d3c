//! What it takes to try this backend: nothing outside this process.

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver, Leaving, Outgoing, Result, Spaces};

use crate::{MemoryDriver, config::Config, log::MAX_MESSAGES};

#[async_trait]
impl Spaces for MemoryDriver {
    fn within(&self, address: &Address, name: &str) -> Address {
        let name = match address.hosts() {
            [] => name.to_owned(),
            [host, ..] => format!("{}-{name}", host.name),
        };
        address.clone().at(name, None)
    }

    fn leaves(&self, _: &Address) -> Vec<Leaving> {
        Vec::new()
    }

    async fn remove(&self, _: &Address) -> Result<()> {
        Ok(())
    }

    /// There is no other way in than this one.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        publish(self, address, vec![Outgoing::new(channel, data.to_vec())]).await
    }

    /// As many messages as the log keeps.
    async fn trim(&self, address: &Address) -> Result<()> {
        let most = Config::read(address)?.max_messages.unwrap_or(MAX_MESSAGES);
        let fillers = (0..=most).map(|_| Outgoing::new("filler", "x")).collect();
        publish(self, address, fillers).await
    }
}

async fn publish(driver: &MemoryDriver, address: &Address, batch: Vec<Outgoing>) -> Result<()> {
    let opened = driver.open(address).await?;
    let answers = opened.backplane.publish(batch).await;
    opened.backplane.close().await;
    answers.into_iter().try_for_each(|answer| answer.map(drop))
}
