//! A backplane whose log can't be read once.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, Error, ErrorKind, History, Page, Position, Receipt, Result, Start,
};

use super::*;

/// Another backplane, and after how many reads one fails.
#[derive(Debug)]
pub(super) struct FaultyLog {
    inner: Arc<dyn Backplane>,
    fails_in: AtomicUsize,
}

impl FaultyLog {
    pub(super) fn around(opened: Opened) -> (Opened, Arc<Self>) {
        let log = Arc::new(Self {
            inner: opened.backplane,
            fails_in: AtomicUsize::new(0),
        });
        let backplane: Arc<dyn Backplane> = Arc::<Self>::clone(&log);
        let events = opened.events;
        (Opened { backplane, events }, log)
    }

    /// The read with this number from now on fails, and no other.
    pub(super) fn fail_at(&self, read: usize) {
        self.fails_in.store(read, Relaxed);
    }

    fn read(&self) -> Result<&dyn History> {
        let before = self
            .fails_in
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        match before {
            Ok(1) => Err(Error::new(ErrorKind::Unavailable, "test", "as tested")),
            _ => Ok(self.inner.history().expect("the memory has a log")),
        }
    }
}

#[async_trait]
impl Backplane for FaultyLog {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        self.inner.publish(batch).await
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.inner.subscribe(channels).await
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<()> {
        self.inner.unsubscribe(channels).await
    }

    fn lane(&self, channel: &str) -> Option<u32> {
        self.inner.lane(channel)
    }

    fn renew(&self) {
        self.inner.renew();
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl History for FaultyLog {
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        Self::read(self)?.read(channel, after, limit).await
    }

    async fn scan(&self, lane: u32, from: Start, limit: usize) -> Result<Page> {
        Self::read(self)?.scan(lane, from, limit).await
    }
}
