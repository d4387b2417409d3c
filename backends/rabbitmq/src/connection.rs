//! One instance: its two tasks, and what the hub calls.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use hubplane_backplane::{
    Backplane, Channel, Error, ErrorKind, EventSender, History, Opened, Outgoing, Receipt, Result,
    events,
};
use tokio::{
    select,
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    NAME,
    config::Config,
    consume::Receiver,
    message::routing_key,
    publish::{Publisher, Writer},
    streams::{
        history::Past,
        reader::{LANE, Reader},
        renamed,
    },
};

/// Batches of at most 100 messages.
const EVENTS: usize = 64;
/// The contract allows 15 s.
const OPEN: Duration = Duration::from_secs(14);
const CLOSE: Duration = Duration::from_millis(3_700);
/// How long `Up` waits for the side that publishes.
const PUBLISHING: Duration = Duration::from_secs(2);

/// What both tasks know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The publishing side found the exchange gone, and with it the receiving side's binding.
    pub(crate) exchange_lost: Notify,
    /// The broker was reached again, so the publishing side need not wait out its delay.
    pub(crate) reached: Notify,
    /// The hub wants another reading connection.
    pub(crate) renew: Notify,
    /// Whether there is a connection that publishes.
    pub(crate) publishing: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    /// Returns once the backend is closed, or dropped.
    pub(crate) async fn stopped(&self) {
        let _ = self.stop.clone().wait_for(|stopped| *stopped).await;
    }

    /// After a restart the hub is told `Up` when it can also publish; but it doesn't wait for that long.
    pub(crate) async fn publishing_too(&self) {
        self.reached.notify_one();
        let mut publishing = self.publishing.subscribe();
        let back = timeout(PUBLISHING, publishing.wait_for(|publishing| *publishing));
        select! {
            _ = back => {}
            () = self.stopped() => {}
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }
}

/// Delays between attempts: from 25–50 ms to 0.5–1 s, so that many instances don't come back in one instant.
#[derive(Debug)]
pub(crate) struct Backoff(u64);

impl Default for Backoff {
    fn default() -> Self {
        Self(50)
    }
}

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (self.0 * 2).min(1_000);
        let random = getrandom::u64().unwrap_or_default();
        Duration::from_millis(longest / 2 + random % (longest / 2 + 1))
    }
}

pub(crate) async fn open(config: Config) -> Result<Opened> {
    let shown = config.shown();
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        config,
        exchange_lost: Notify::new(),
        reached: Notify::new(),
        renew: Notify::new(),
        publishing: watch::Sender::new(true),
        stop: stopped,
    });
    let (sender, events) = events(EVENTS);
    let start = async {
        let (receive, past) = read(&shared, sender).await?;
        let (publisher, writer, link) = Writer::open(&shared).await?;
        Ok((receive, past, publisher, writer, link))
    };
    let Ok(started) = timeout(OPEN, start).await else {
        let message = format!("RabbitMQ at {shown} did not answer within 14 s");
        return Err(Error::new(ErrorKind::Unavailable, NAME, message));
    };
    let (receive, past, publisher, writer, link) = started?;
    let tasks = [tokio::spawn(receive), tokio::spawn(writer.run(link))];
    let backplane = Rabbit {
        shared,
        publisher,
        past,
        stop,
        tasks: Mutex::new(Some(tasks)),
    };
    Ok(Opened {
        backplane: Arc::new(backplane),
        events,
    })
}

/// Begins to read: the task's future, and the log's past.
async fn read(
    shared: &Arc<Shared>,
    events: EventSender,
) -> Result<(BoxFuture<'static, ()>, Option<Past>)> {
    if shared.config.retention.is_none() {
        let (receiver, reading) = Receiver::open(shared, events).await?;
        return Ok((receiver.run(reading).boxed(), None));
    }
    let (reader, following, known) = Reader::open(shared, events).await?;
    let past = Past::new(Arc::clone(shared), known);
    Ok((reader.run(following).boxed(), Some(past)))
}

/// An open instance.
#[derive(Debug)]
struct Rabbit {
    shared: Arc<Shared>,
    publisher: Publisher,
    /// With streams.
    past: Option<Past>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Option<[JoinHandle<()>; 2]>>,
}

#[async_trait]
impl Backplane for Rabbit {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let answers = self.publisher.publish(batch).await;
        if self.past.is_none() {
            return answers;
        }
        let answers = answers.into_iter();
        answers.map(|answer| answer.map_err(renamed)).collect()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        if self.shared.is_stopped() {
            return Err(Error::new(ErrorKind::Closed, NAME, "the backend is closed"));
        }
        let checked = channels
            .iter()
            .try_for_each(|channel| routing_key(channel).map(drop));
        match self.past {
            Some(_) => checked.map_err(renamed),
            None => checked,
        }
    }

    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    fn lane(&self, _channel: &str) -> Option<u32> {
        self.past.as_ref().map(|_| LANE)
    }

    fn renew(&self) {
        self.shared.renew.notify_one();
    }

    fn history(&self) -> Option<&dyn History> {
        self.past.as_ref().map(|past| past as &dyn History)
    }

    async fn close(&self) {
        self.stop.send_replace(true);
        if let Some(past) = &self.past {
            past.close();
        }
        let tasks = {
            let mut tasks = self
                .tasks
                .lock()
                .unwrap_or_else(|poison| poison.into_inner());
            tasks.take()
        };
        let Some([receive, publish]) = tasks else {
            return;
        };
        let aborts = [receive.abort_handle(), publish.abort_handle()];
        let ended = async {
            let _ = receive.await;
            let _ = publish.await;
        };
        if timeout(CLOSE, ended).await.is_err() {
            aborts.iter().for_each(|task| task.abort());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_a_second_and_stays_random() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!((25..=50).contains(&first.as_millis()), "{first:?}");
        let late: Vec<_> = (0..20).map(|_| backoff.next()).skip(6).collect();
        assert!(late.iter().all(|d| (500..=1_000).contains(&d.as_millis())));
        assert!(late.iter().any(|delay| *delay != late[0]));
    }
}
