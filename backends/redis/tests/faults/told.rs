//! An instance on streams, and all that it was told.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hubplane_backplane::{
    Backplane, Driver, ErrorKind, Event, GapCause, Outgoing, Position, Receipt, Result, Scope,
};
use hubplane_redis::STREAMS_DRIVER;
use tokio::time::sleep;

/// Reads its events until it is dropped.
pub(crate) struct Told {
    pub(crate) backplane: Arc<dyn Backplane>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Told {
    pub(crate) async fn open(address: &str) -> Self {
        let opened = STREAMS_DRIVER.open(&address.parse().unwrap()).await;
        let mut opened = opened.unwrap_or_else(|error| panic!("{address}: {error}"));
        let events = Arc::new(Mutex::new(Vec::new()));
        let noting = Arc::clone(&events);
        tokio::spawn(async move {
            while let Some(event) = opened.events.recv().await {
                noting.lock().unwrap().push(event);
            }
        });
        Self {
            backplane: opened.backplane,
            events,
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) async fn publish(&self, channel: &str, data: &str) -> Result<Receipt> {
        let outgoing = Outgoing::new(channel, data.to_owned());
        self.backplane.publish(vec![outgoing]).await.remove(0)
    }

    /// Publishes as a hub does: again, until it is stored.
    pub(crate) async fn store(&self, channel: &str, data: &str) -> Position {
        let start = Instant::now();
        loop {
            match self.publish(channel, data).await {
                Ok(Receipt::Stored(position)) => return position,
                Ok(receipt) => panic!("{receipt:?}"),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown),
                    "{error}"
                ),
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{data}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The data of a channel's messages, each once: what was stored again after an `Unknown` may come again.
    pub(crate) fn heard(&self, channel: &str) -> Vec<String> {
        let mut heard = Vec::new();
        for event in self.events() {
            if let Event::Published(all) = event {
                let own = all.into_iter().filter(|p| &*p.channel == channel);
                heard.extend(own.map(|p| String::from_utf8_lossy(&p.data).into_owned()));
            }
        }
        let mut seen = HashSet::new();
        heard.retain(|data: &String| seen.insert(data.clone()));
        heard
    }

    pub(crate) fn gaps(&self) -> Vec<(u32, GapCause)> {
        let gap = |event| match event {
            Event::Gap {
                scope: Scope::Lane(lane),
                cause,
            } => Some((lane, cause)),
            Event::Gap { .. } => panic!("{event:?}"),
            _ => None,
        };
        self.events().into_iter().filter_map(gap).collect()
    }

    pub(crate) fn downs_and_ups(&self) -> String {
        let sign = |event: &Event| match event {
            Event::Down(_) => Some('-'),
            Event::Up => Some('+'),
            _ => None,
        };
        self.events().iter().filter_map(sign).collect()
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{what}: {:?}",
                self.events()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// One more message is stored and heard.
    pub(crate) async fn hears(&self, channel: &str, data: &str) -> Position {
        let position = self.store(channel, data).await;
        let heard = |it: &Self| it.heard(channel).iter().any(|it| it == data);
        self.until(data, heard).await;
        position
    }
}
