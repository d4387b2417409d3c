//! One instance: its two tasks, and what the hub calls.

use std::{
    sync::{Arc, Mutex, PoisonError},
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
    time::{Instant, timeout, timeout_at},
};

use crate::{
    NAME,
    config::Config,
    consume::Receiver,
    message::routing_key,
    nodes::Nodes,
    publish::Publisher,
    streams::{
        history::Past,
        reader::{LANE, Reader},
        renamed,
    },
    writer::{Writer, Writing},
};

/// Batches of at most 100 messages.
const EVENTS: usize = 64;
/// The contract allows 15 s.
const OPEN: Duration = Duration::from_secs(14);
/// A node of several gets at least so much of it.
const SHORTEST: Duration = Duration::from_secs(4);
const CLOSE: Duration = Duration::from_millis(3_700);
/// How long `Up` waits for the side that publishes.
const PUBLISHING: Duration = Duration::from_secs(2);

/// What both tasks know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) nodes: Nodes,
    /// The publishing side found the exchange gone, and with it the receiving side's binding.
    pub(crate) exchange_lost: Notify,
    /// The broker was reached again, so the publishing side need not wait out its delay.
    pub(crate) reached: Notify,
    /// The hub wants another reading connection.
    pub(crate) renew: Notify,
    /// The publishing side can't work with the node that is used.
    pub(crate) leave: Notify,
    /// Whether there is a connection that publishes.
    pub(crate) publishing: watch::Sender<bool>,
    /// Why there was none last, in the broker's words.
    refusal: Mutex<String>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    /// Returns once the backend is closed, or dropped.
    pub(crate) async fn stopped(&self) {
        let _ = self.stop.clone().wait_for(|stopped| *stopped).await;
    }

    /// Keeps why nothing can be published, for those who want to publish; `false` where it was the same before.
    pub(crate) fn refused(&self, why: String) -> bool {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *refusal, why) != *refusal
    }

    /// Why nothing could be published last.
    pub(crate) fn refusal(&self) -> String {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.clone()
    }

    /// What the hub and the log should know of an attempt that failed: that the broker refuses us, and waiting is no use.
    /// Each reason once in a row.
    pub(crate) fn news(&self, error: &Error, last: &mut Option<String>) -> Option<String> {
        let why = error.to_string();
        if error.kind() != ErrorKind::Config || last.as_ref() == Some(&why) {
            return None;
        }
        tracing::warn!(why, "RabbitMQ refuses this instance; trying on");
        *last = Some(why.clone());
        Some(why)
    }

    /// Makes the receiving side go to another node, where there is one.
    pub(crate) fn leave_node(&self) {
        if self.nodes.several() {
            self.leave.notify_one();
        }
    }

    /// What was asked for while a new connection was made is done.
    pub(crate) fn reconnected(&self) {
        for asked in [&self.renew, &self.leave] {
            let _ = asked.notified().now_or_never();
        }
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
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        nodes: Nodes::new(config.hosts.len()),
        config,
        exchange_lost: Notify::new(),
        reached: Notify::new(),
        renew: Notify::new(),
        leave: Notify::new(),
        publishing: watch::Sender::new(true),
        refusal: Mutex::default(),
        stop: stopped,
    });
    let (sender, events) = events(EVENTS);
    let Started {
        receive,
        past,
        publisher,
        writer,
        writing,
    } = start(&shared, sender).await?;
    let tasks = [tokio::spawn(receive), tokio::spawn(writer.run(writing))];
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

/// What an instance consists of.
struct Started {
    receive: BoxFuture<'static, ()>,
    past: Option<Past>,
    publisher: Publisher,
    writer: Writer,
    writing: Writing,
}

/// Tries each node once, and leaves each its share of the time: one may take connections and then answer nothing.
async fn start(shared: &Arc<Shared>, events: EventSender) -> Result<Started> {
    let share = OPEN / u32::try_from(shared.nodes.count()).unwrap_or(u32::MAX);
    let end = Instant::now() + OPEN;
    let mut failed = None;
    for _ in 0..shared.nodes.count() {
        let events = events.clone();
        let attempt = async {
            let (receive, past) = read(shared, events).await?;
            let node = shared.nodes.used();
            shared.nodes.avoid(node);
            let (publisher, writer, writing) = Writer::open(shared).await?;
            shared.nodes.choose(node);
            Ok(Started {
                receive,
                past,
                publisher,
                writer,
                writing,
            })
        };
        let until = end.min(Instant::now() + share.max(SHORTEST));
        match timeout_at(until, attempt).await {
            Ok(Ok(started)) => return Ok(started),
            Ok(Err(error)) => failed = Some(error),
            Err(_) => {}
        }
    }
    Err(failed.unwrap_or_else(|| {
        let message = format!("RabbitMQ at {} did not answer", shared.config.shown());
        Error::new(ErrorKind::Unavailable, NAME, message)
    }))
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
