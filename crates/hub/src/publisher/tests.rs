use std::{pin::pin, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use hubplane_backplane::{
    Backplane, Channel, Event, History, Opened, Outgoing, Position, Receipt, Result, events,
};
use tokio::time::{Instant, sleep};

use super::Waiting;
use crate::{Hub, Setup, limits::Limits};

/// A broker that stands still.
#[derive(Debug)]
struct Frozen;

#[async_trait]
impl Backplane for Frozen {
    async fn publish(&self, _batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        std::future::pending().await
    }

    async fn subscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    fn lane(&self, _channel: &str) -> Option<u32> {
        Some(0)
    }

    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        None
    }

    async fn close(&self) {}
}

/// However many beacons fall due meanwhile.
#[tokio::test]
async fn a_broker_that_stands_still_keeps_nobody_waiting() {
    let (sender, events) = events(1);
    let limits = Limits {
        publish_timeout: Duration::from_millis(300),
        beacon_interval: Duration::from_millis(20),
        ..Limits::default()
    };
    let setup = Setup {
        node: "test".to_owned(),
        driver: &hubplane_memory::DRIVER,
        limits,
        shards: 1,
    };
    let backplane = std::sync::Arc::new(Frozen);
    let (hub, _mailboxes) = Hub::start(Opened { backplane, events }, setup).unwrap();
    let position = Position {
        epoch: 1,
        lane: 0,
        offset: 0,
    };
    sender.send(Event::Progress(position)).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    for _ in 0..3 {
        let start = Instant::now();
        let publish = |_| hub.publish(vec![Outgoing::new("c", "x")]);
        let all = (0..5)
            .map(publish)
            .collect::<futures_util::stream::FuturesUnordered<_>>();
        for answers in futures_util::StreamExt::collect::<Vec<_>>(all).await {
            assert!(answers.unwrap().iter().all(Result::is_err));
        }
        // A round of beacons may have been under way.
        assert!(
            start.elapsed() < Duration::from_millis(2_000),
            "{:?}",
            start.elapsed()
        );
    }
}

#[test]
fn who_waits_for_the_last_answer_is_told_of_it() {
    let waiting = Waiting::new(&Limits::default());
    assert!(
        waiting.until_empty().now_or_never().is_some(),
        "nothing waits"
    );
    waiting.enter(3, 30).unwrap();
    let (mut first, mut second) = (pin!(waiting.until_empty()), pin!(waiting.until_empty()));
    for answered in [1, 2] {
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        waiting.leave(answered, 10 * answered);
    }
    assert!(first.now_or_never().is_some());
    assert!(second.now_or_never().is_some(), "the signal goes round");
}
