//! What an open instance of either backend consists of: the task that receives, the task that
//! publishes, and their end.
//!
//! The two backends differ in how they receive, so that task is handed in. The two tasks meet only
//! in [`crate::shared`], and use one node: see [`crate::nodes`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hubplane_backplane::{Channel, Error, ErrorKind, Outgoing, Receipt, Result};
use hubplane_kit::limits;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    capabilities::NAME, config::Config, message::routing_key, publish::Publisher, shared::Shared,
    writer::Writer,
};

/// Events that may wait between a backend and its hub: batches of at most 100 messages each.
pub(crate) const EVENTS: usize = 64;
/// Each of several nodes gets at least so much of [`limits::OPEN`]: less would give up a healthy
/// broker on a busy machine.
const SHORTEST: Duration = Duration::from_secs(4);
/// How long the tasks may take to end. Within the 5 s of the contract, with the goodbyes of both
/// connections.
const CLOSE: Duration = Duration::from_millis(3_700);

/// The two tasks of an open instance. Dropping it stops them, since the sender of `stop` is gone
/// then.
#[derive(Debug)]
pub(crate) struct Instance {
    shared: Arc<Shared>,
    publisher: Publisher,
    stop: watch::Sender<bool>,
    /// `None` once somebody has closed the instance.
    tasks: Mutex<Option<[JoinHandle<()>; 2]>>,
}

impl Instance {
    /// Opens an instance at one of the nodes. `read` connects the side that receives, and returns its task and whatever
    /// else it has to give.
    ///
    /// Tries each node once, and leaves each its share of the time: one may take connections and then answer nothing.
    pub(crate) async fn open<T, F>(
        config: Config,
        read: impl Fn(Arc<Shared>) -> F,
    ) -> Result<(Self, T)>
    where
        F: Future<Output = Result<(BoxFuture<'static, ()>, T)>>,
    {
        let (shared, stop) = Shared::new(config);
        let shared = Arc::new(shared);
        let nodes = &shared.nodes;
        let share = limits::OPEN / u32::try_from(nodes.count()).unwrap_or(u32::MAX);
        let end = Instant::now() + limits::OPEN;
        let mut failed = None;
        for _ in 0..nodes.count() {
            let attempt = async {
                let (receive, more) = read(Arc::clone(&shared)).await?;
                let node = nodes.used();
                // A publisher that can't be opened here sends the next attempt to another node.
                nodes.avoid(node);
                let publish = Writer::open(&shared).await?;
                nodes.choose(node);
                Ok((receive, more, publish))
            };
            let until = end.min(Instant::now() + share.max(SHORTEST));
            match timeout_at(until, attempt).await {
                Ok(Ok((receive, more, (publisher, writer, writing)))) => {
                    let tasks = [tokio::spawn(receive), tokio::spawn(writer.run(writing))];
                    let this = Self {
                        shared,
                        publisher,
                        stop,
                        tasks: Mutex::new(Some(tasks)),
                    };
                    return Ok((this, more));
                }
                // The last error is shown: all nodes were tried by then.
                Ok(Err(error)) => failed = Some(error),
                Err(_) => {}
            }
        }
        Err(failed.unwrap_or_else(|| {
            let message = format!("RabbitMQ at {} did not answer", shared.config.shown());
            Error::new(ErrorKind::Unavailable, NAME, message)
        }))
    }

    /// Publishes a batch; see `Backplane::publish`.
    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        self.publisher.publish(batch).await
    }

    /// Needs nothing of the broker, since every channel's messages arrive anyway. Refuses a name
    /// that AMQP can't carry, which nobody could ever publish to.
    pub(crate) fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        if self.shared.is_stopped() {
            return Err(Error::new(ErrorKind::Closed, NAME, "the backend is closed"));
        }
        channels
            .iter()
            .try_for_each(|channel| routing_key(channel).map(drop))
    }

    /// Asks the receiving task for another connection.
    pub(crate) fn renew(&self) {
        self.shared.renew.notify_one();
    }

    /// Stops both tasks and waits for them, for at most 3.7 s; then they are cut off. A second call
    /// returns at once.
    pub(crate) async fn close(&self) {
        self.stop.send_replace(true);
        let tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
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
