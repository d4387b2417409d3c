//! One open instance: it publishes by appending to the log, and a task carries the log to its events. There is no
//! broker, so nothing here connects, retries or comes back.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, Error, Event, History, Opened, Outgoing, Receipt, Result, events,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{CAPABILITIES, NAME, closed, consume, history::Past, log::Log};

/// Events that may wait for the hub. What comes on top stays in the log, which has its own limits.
const QUEUE: usize = 64;

/// One instance. Dropping it ends its task, as closing it does.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The log, which is also what is read back.
    past: Past,
    /// True once the instance is closed. The task and every reading of the past watch it.
    closed: watch::Sender<bool>,
    /// Carries the log to the events. `None` once a `close` waits for its end.
    pump: Mutex<Option<JoinHandle<()>>>,
}

/// Opens an instance at the present end of the log: it hears what is appended from now on. Its first event is the
/// `Progress` of that place, before any message.
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

/// Returns the error of an item that is over the declared limits, or `None` if the log takes it.
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
        // The good items are appended in one step, so that a batch stays together, and the answers are put into the
        // items' order again.
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

    /// Everything arrives anyway; only the limit of names is checked, so that a hub finds out here as on other
    /// brokers.
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

    /// There is one order for everything, and so one lane.
    fn lane(&self, _: &str) -> Option<u32> {
        Some(0)
    }

    /// Does nothing: the log is read directly, and no connection can go deaf.
    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        Some(&self.past)
    }

    /// Ends the task and waits for its end, which drops the sender: the events that are queued can still be taken, and
    /// then they end. A second call finds no task and returns at once.
    async fn close(&self) {
        self.closed.send_replace(true);
        let pump = self
            .pump
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(pump) = pump {
            // An error means that the task panicked; it has ended, and the panic was reported.
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
        // The instance reads nothing meanwhile: the queue fills, and the log of ten messages moves on.
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
                // The `Progress` behind a gap says where the log goes on.
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
