//! One open instance, as the hub holds it.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, Error, ErrorKind, EventSender, History, Outgoing, Receipt, Result, wire,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    CAPABILITIES, NAME,
    config::Config,
    connection::Link,
    consume::{Change, ChangeKind, Outlet, Subscriber, away},
    failure,
    inbox::Inbox,
    interest::Interest,
    publish::{self, Item, Job, PIPELINE, PIPELINE_BYTES, Ticket, Writer, unknown},
};

/// What every call of the contract may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Jobs that wait for the writer, up to a pipeline each.
const JOBS: usize = 256;
/// Changes of interest that wait for the subscriber.
const CHANGES: usize = 16;

/// Connects the hub's calls with the two tasks.
pub(crate) struct Instance {
    config: Arc<Config>,
    interest: Arc<Interest>,
    jobs: mpsc::Sender<Job>,
    changes: mpsc::Sender<Change>,
    closed: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("prefix", &self.config.prefix)
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts the tasks on the two open connections.
    pub(crate) fn start(
        config: Arc<Config>,
        (subscriber, inbox): (Link, Arc<Inbox>),
        publisher: Link,
        events: EventSender,
    ) -> Self {
        let interest = Arc::new(Interest::default());
        let (jobs, job_queue) = mpsc::channel(JOBS);
        let (changes, change_queue) = mpsc::channel(CHANGES);
        let (closed, closing) = watch::channel(false);
        let writer = Writer {
            config: Arc::clone(&config),
            jobs: job_queue,
            closed: closing.clone(),
        };
        let outlet = Outlet::new(Arc::clone(&config), Arc::clone(&interest), events);
        let reader = Subscriber {
            config: Arc::clone(&config),
            interest: Arc::clone(&interest),
            changes: change_queue,
            outlet,
        };
        let mut closing = closing;
        let tasks = vec![
            tokio::spawn(writer.run(publisher)),
            tokio::spawn(async move {
                // Dropping the reader ends the events, wherever it waits.
                tokio::select! {
                    () = reader.run(subscriber, inbox) => {}
                    () = publish::closing(&mut closing) => {}
                }
            }),
        ];
        Self {
            config,
            interest,
            jobs,
            changes,
            closed,
            tasks: Mutex::new(tasks),
        }
    }

    /// The bytes for Redis, or why it can't have them.
    fn item(&self, outgoing: &Outgoing) -> Result<Item> {
        CAPABILITIES.check(NAME, &outgoing.channel, outgoing.data.len())?;
        let data = match self.config.envelope {
            true => wire::seal(outgoing),
            false => outgoing.data.clone(),
        };
        if data.len() - outgoing.data.len() > wire::MAX_ENVELOPE {
            return Err(rejected(format!(
                "id and tags make an envelope of more than {} bytes",
                wire::MAX_ENVELOPE
            )));
        }
        Ok(Item {
            channel: format!("{}{}", self.config.prefix, outgoing.channel),
            data,
        })
    }

    /// Hands a job over; its answer is to be awaited by [`Self::answer`].
    async fn hand_over(&self, items: Vec<Item>, deadline: Instant) -> Waiting {
        let ticket = Arc::new(Ticket::default());
        let (done, answer) = oneshot::channel();
        let count = items.len();
        let job = Job {
            items,
            ticket: Arc::clone(&ticket),
            done,
        };
        match timeout_at(deadline, self.jobs.send(job)).await {
            Ok(Ok(())) => {}
            // The dropped job leaves the answer without a sender, and the ticket says why.
            Ok(Err(_)) | Err(_) => {
                ticket.give_up();
            }
        }
        Waiting {
            count,
            ticket,
            answer,
        }
    }

    async fn answer(&self, waiting: Waiting, deadline: Instant) -> Vec<Result<Receipt>> {
        if let Ok(Ok(results)) = timeout_at(deadline, waiting.answer).await {
            return results;
        }
        let unsent = waiting.ticket.give_up();
        let error = || match unsent {
            true if *self.closed.borrow() => failure::closed(),
            true => failure::unavailable("too much waits to be published"),
            false => unknown(),
        };
        (0..waiting.count).map(|_| Err(error())).collect()
    }

    async fn change(&self, kind: ChangeKind, channels: Vec<Channel>) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let change = Change {
            kind,
            channels,
            done,
        };
        let changing = async {
            if self.changes.send(change).await.is_err() {
                return Err(failure::closed());
            }
            match answer.await {
                Ok(result) => result,
                Err(_) if *self.closed.borrow() => Err(failure::closed()),
                Err(_) => Err(away()),
            }
        };
        timeout(CALL_LIMIT, changing)
            .await
            .unwrap_or_else(|_elapsed| Err(away()))
    }
}

/// A job that was handed over.
struct Waiting {
    count: usize,
    ticket: Arc<Ticket>,
    answer: oneshot::Receiver<Vec<Result<Receipt>>>,
}

fn rejected(message: String) -> Error {
    Error::new(ErrorKind::Rejected, NAME, message)
}

#[async_trait]
impl Backplane for Instance {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        if *self.closed.borrow() {
            return batch.iter().map(|_| Err(failure::closed())).collect();
        }
        let deadline = Instant::now() + CALL_LIMIT;
        let mut refused = Vec::new();
        let mut waiting = Vec::new();
        let (mut items, mut bytes) = (Vec::new(), 0);
        let total = batch.len();
        for (index, outgoing) in batch.iter().enumerate() {
            match self.item(outgoing) {
                Ok(item) => {
                    bytes += item.data.len();
                    items.push(item);
                }
                Err(error) => refused.push((index, error)),
            }
            if items.len() == PIPELINE || bytes >= PIPELINE_BYTES {
                waiting.push(self.hand_over(mem::take(&mut items), deadline).await);
                bytes = 0;
            }
        }
        if !items.is_empty() {
            waiting.push(self.hand_over(items, deadline).await);
        }
        let mut answered = Vec::with_capacity(total);
        for job in waiting {
            answered.extend(self.answer(job, deadline).await);
        }
        let mut answered = answered.into_iter();
        let mut refused = refused.into_iter().peekable();
        let mut result = |index| match refused.next_if(|(at, _)| *at == index) {
            Some((_, error)) => Err(error),
            None => answered.next().unwrap_or_else(|| Err(unknown())),
        };
        (0..total).map(&mut result).collect()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            return Err(failure::closed());
        }
        channels
            .iter()
            .try_for_each(|name| CAPABILITIES.check(NAME, name, 0))?;
        let open = self.interest.lock().add(channels);
        match open.is_empty() {
            true => Ok(()),
            false => self.change(ChangeKind::Subscribe, open).await,
        }
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            return Err(failure::closed());
        }
        // From here on nothing of these channels is let through; telling Redis only saves it the work.
        let gone = self.interest.lock().remove(channels);
        if gone.is_empty() {
            return Ok(());
        }
        match self.change(ChangeKind::Unsubscribe, gone).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
            result => result,
        }
    }

    fn lane(&self, _channel: &str) -> Option<u32> {
        None
    }

    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        None
    }

    async fn close(&self) {
        self.closed.send_replace(true);
        let tasks = mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let abort = task.abort_handle();
            if timeout(CALL_LIMIT / 2, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The tasks see it and end; nothing of an instance outlives it.
        self.closed.send_replace(true);
    }
}
