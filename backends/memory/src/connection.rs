use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, Error, Event, History, Opened, Outgoing, Receipt, Result, events,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{CAPABILITIES, NAME, closed, consume, history::Past, log::Log};

/// Batches that may wait for the hub; more stay in the log.
const QUEUE: usize = 64;

/// One instance: a place in a log, and whether it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    past: Past,
    closed: watch::Sender<bool>,
    pump: Mutex<Option<JoinHandle<()>>>,
}

/// Opens an instance at the log's present end.
pub(crate) fn open(log: Arc<Log>) -> Opened {
    let (sender, events) = events(QUEUE);
    let closed = watch::Sender::new(false);
    let start = *log.ends().borrow();
    sender
        .try_send(Event::Progress(log.position(start)))
        .expect("invariant: a new queue has room");
    let pump = consume::pump(Arc::clone(&log), start, sender, closed.subscribe());
    let pump = tokio::spawn(pump);
    let past = Past {
        log,
        closed: closed.subscribe(),
    };
    let connection = Connection {
        past,
        closed,
        pump: Mutex::new(Some(pump)),
    };
    Opened {
        backplane: Arc::new(connection),
        events,
    }
}

/// Why an item can't be taken, if so.
fn rejection(outgoing: &Outgoing) -> Option<Error> {
    let payload = outgoing.data.len();
    CAPABILITIES.check(NAME, &outgoing.channel, payload).err()
}

#[async_trait]
impl Backplane for Connection {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        if *self.closed.borrow() {
            return batch.iter().map(|_| Err(closed())).collect();
        }
        let rejections: Vec<_> = batch.iter().map(rejection).collect();
        let good = batch.into_iter().zip(&rejections);
        let good = good.filter_map(|(outgoing, rejection)| rejection.is_none().then_some(outgoing));
        let mut places = self.past.log.append(good).into_iter();
        let mut place = || {
            places
                .next()
                .expect("invariant: one place for each good item")
        };
        rejections
            .into_iter()
            .map(|rejection| rejection.map_or_else(|| Ok(Receipt::Stored(place())), Err))
            .collect()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            return Err(closed());
        }
        channels
            .iter()
            .try_for_each(|channel| CAPABILITIES.check(NAME, channel, 0))
    }

    async fn unsubscribe(&self, _: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            Err(closed())
        } else {
            Ok(())
        }
    }

    fn lane(&self, _: &str) -> Option<u32> {
        Some(0)
    }

    /// The log is read directly: there is nothing that could go deaf.
    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        Some(&self.past)
    }

    async fn close(&self) {
        self.closed.send_replace(true);
        let pump = self
            .pump
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(pump) = pump {
            // A pump that panicked has ended too, and has said so.
            let _ = pump.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::{Driver, Events, GapCause};

    use super::*;
    use crate::DRIVER;

    async fn opened(address: &str) -> (Arc<dyn Backplane>, Events) {
        let opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
        (opened.backplane, opened.events)
    }

    #[tokio::test]
    async fn each_unnamed_open_is_alone() {
        let (a, mut a_events) = opened("memory:").await;
        let (b, mut b_events) = opened("memory:").await;
        a.publish(vec![Outgoing::new("c", "x")])
            .await
            .remove(0)
            .unwrap();
        a.close().await;
        b.close().await;
        assert!(matches!(a_events.recv().await, Some(Event::Progress(_))));
        assert!(matches!(b_events.recv().await, Some(Event::Progress(_))));
        assert_eq!(b_events.recv().await, None);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_before_the_next_message() {
        let (a, mut events) = opened("memory:?max-messages=10").await;
        for _ in 0..10 * QUEUE {
            a.publish(vec![Outgoing::new("c", "x")])
                .await
                .remove(0)
                .unwrap();
            tokio::task::yield_now().await;
        }
        let last = a
            .publish(vec![Outgoing::new("c", "last")])
            .await
            .remove(0)
            .unwrap()
            .position();
        let (mut expected, mut gaps) = (1, 0);
        loop {
            match events.recv().await.unwrap() {
                Event::Published(publications) => {
                    for publication in publications {
                        let position = publication.position.unwrap();
                        assert_eq!(position.offset, expected, "a hole without a gap");
                        expected += 1;
                        if publication.position == last {
                            assert!(gaps > 0);
                            return;
                        }
                    }
                }
                Event::Gap { cause, .. } => {
                    assert_eq!(cause, GapCause::Trimmed);
                    gaps += 1;
                    let Some(Event::Progress(position)) = events.recv().await else {
                        panic!()
                    };
                    expected = position.offset + 1;
                }
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn dropping_the_instance_ends_its_pump() {
        let (a, mut events) = opened("memory:").await;
        drop(a);
        assert!(matches!(events.recv().await, Some(Event::Progress(_))));
        assert_eq!(events.recv().await, None);
    }
}
