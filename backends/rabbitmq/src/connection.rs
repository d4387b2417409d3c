//! What an open instance of both backends consists of: the task that receives, the task that publishes, and their end.

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

/// Batches of at most 100 messages.
pub(crate) const EVENTS: usize = 64;
/// Of [`limits::OPEN`], each of several nodes gets at least so much.
const SHORTEST: Duration = Duration::from_secs(4);
const CLOSE: Duration = Duration::from_millis(3_700);

/// See the module.
#[derive(Debug)]
pub(crate) struct Instance {
    shared: Arc<Shared>,
    publisher: Publisher,
    stop: watch::Sender<bool>,
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
                Ok(Err(error)) => failed = Some(error),
                Err(_) => {}
            }
        }
        Err(failed.unwrap_or_else(|| {
            let message = format!("RabbitMQ at {} did not answer", shared.config.shown());
            Error::new(ErrorKind::Unavailable, NAME, message)
        }))
    }

    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        self.publisher.publish(batch).await
    }

    /// Every channel's messages arrive anyway; a name that AMQP can't carry is refused.
    pub(crate) fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        if self.shared.is_stopped() {
            return Err(Error::new(ErrorKind::Closed, NAME, "the backend is closed"));
        }
        channels
            .iter()
            .try_for_each(|channel| routing_key(channel).map(drop))
    }

    pub(crate) fn renew(&self) {
        self.shared.renew.notify_one();
    }

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
