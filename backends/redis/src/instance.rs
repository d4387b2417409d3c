//! One open instance of the first backend, as the hub holds it: passes the hub's calls on to two
//! tasks, the publisher and the subscriber, and ends them.
//!
//! It holds no connection itself and decides nothing about Redis. A call returns within 5 s
//! whatever the tasks are doing.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, ErrorKind, EventSender, History, Outgoing, Receipt, Result, wire,
};
use redis::Cmd;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    backend::{CAPABILITIES, NAME},
    config::PubSub,
    connection::Link,
    consume::{Change, ChangeKind, Subscriber, away},
    dial::Dialer,
    failure,
    inbox::Inbox,
    interest::Interest,
    outbox::{CALL_LIMIT, Outbox, rejected},
    outlet::Outlet,
    pipeline::Item,
    publish::{self, Writer},
};
use hubplane_kit::LogLimiter;
use hubplane_kit::ReconnectLog;

/// Changes of interest that wait for the subscriber. The hub makes them from one task, one after
/// the other, so a few will do.
const CHANGES: usize = 16;

/// Connects the hub's calls with the two tasks. Dropping it ends them.
pub(crate) struct Instance {
    /// What the address says; shared with every task.
    pubsub: Arc<PubSub>,
    /// Which channels are wanted; shared with the subscriber.
    interest: Arc<Interest>,
    outbox: Outbox,
    /// The way of changes of interest to the subscriber.
    changes: mpsc::Sender<Change>,
    /// Asks the subscriber for another connection.
    renew: Arc<Notify>,
    /// Set to true by closing, and seen by both tasks; dropping the sender has the same effect.
    closed: watch::Sender<bool>,
    /// Both tasks; empty once the instance was closed.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("prefix", &self.pubsub.server.prefix)
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts the tasks on the two open connections. Must be called on the runtime that they are to
    /// live on.
    pub(crate) fn start(
        (pubsub, dialer): (Arc<PubSub>, Arc<Dialer>),
        (subscriber, inbox): (Link, Arc<Inbox>),
        publisher: Link,
        events: EventSender,
    ) -> Self {
        let interest = Arc::new(Interest::default());
        let (changes, change_queue) = mpsc::channel(CHANGES);
        let (closed, closing) = watch::channel(false);
        let (outbox, job_queue) = Outbox::new(closing.clone());
        let renew = Arc::new(Notify::new());
        // The publisher has no slot: in a Cluster any node passes a PUBLISH on.
        let writer = Writer {
            dialer: Arc::clone(&dialer),
            slot: None,
            jobs: job_queue,
            closed: closing.clone(),
            refusals: LogLimiter::new(),
        };
        let outlet = Outlet::new(Arc::clone(&pubsub), Arc::clone(&interest), events);
        let reader = Subscriber {
            dialer,
            interest: Arc::clone(&interest),
            changes: change_queue,
            renew: Arc::clone(&renew),
            outlet,
            troubles: ReconnectLog::of(NAME, "subscriber"),
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
            pubsub,
            interest,
            outbox,
            changes,
            renew,
            closed,
            tasks: Mutex::new(tasks),
        }
    }

    /// Returns the command for Redis, or why Redis can't have the message: its name or data is too
    /// long, or its envelope.
    fn item(&self, outgoing: &Outgoing) -> Result<Item> {
        CAPABILITIES.check(NAME, &outgoing.channel, outgoing.data.len())?;
        let data = match self.pubsub.envelope {
            true => wire::seal(outgoing),
            false => outgoing.data.clone(),
        };
        // Checked after sealing, because only then the envelope's length is known. It is the bound
        // that every reader has, too.
        if data.len() - outgoing.data.len() > wire::MAX_ENVELOPE {
            return Err(rejected(format!(
                "id and tags make an envelope of more than {} bytes",
                wire::MAX_ENVELOPE
            )));
        }
        let channel = format!("{}{}", self.pubsub.server.prefix, outgoing.channel);
        // The capacity is right to the byte or nearly: a pipeline has hundreds of commands.
        let mut command = Cmd::with_capacity(3, 7 + channel.len() + data.len());
        command.arg("PUBLISH").arg(channel).arg(&data[..]);
        Ok(Item {
            command,
            size: data.len(),
            stream: None,
        })
    }

    /// Hands a change of interest to the subscriber, and waits until Redis has confirmed it.
    /// `Unavailable` if the connection is down; the interest is kept all the same, and subscribed
    /// once it is back.
    async fn change(&self, kind: ChangeKind, channels: Vec<Channel>) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let change = Change {
            kind,
            channels,
            done,
        };
        // The subscriber may be gone, or may drop the change when its connection breaks.
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

#[async_trait]
impl Backplane for Instance {
    /// Publishes a batch; see [`Outbox::publish`].
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        self.outbox
            .publish(&batch, |outgoing| self.item(outgoing))
            .await
    }

    /// Subscribes, and returns when Redis has confirmed every channel. Channels that are confirmed
    /// already cost nothing.
    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            return Err(failure::closed());
        }
        // All names first: a call adds all of its channels or none.
        channels
            .iter()
            .try_for_each(|name| CAPABILITIES.check(NAME, name, 0))?;
        // The interest comes first: if the connection breaks now, the next one subscribes to the
        // channels, too.
        let open = self.interest.lock().add(channels);
        match open.is_empty() {
            true => Ok(()),
            false => self.change(ChangeKind::Subscribe, open).await,
        }
    }

    /// Takes channels out of the interest. An error of the connection is none here: without a
    /// subscription the aim is reached.
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
            // No connection, so nothing is subscribed either.
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
            result => result,
        }
    }

    /// Returns `None`: without a log there are no lanes.
    fn lane(&self, _channel: &str) -> Option<u32> {
        None
    }

    /// The subscriptions are made anew on another connection; a gap tells what may have been missed.
    fn renew(&self) {
        self.renew.notify_one();
    }

    /// Returns `None`: Redis keeps nothing that was published.
    fn history(&self) -> Option<&dyn History> {
        None
    }

    /// Ends both tasks. Each gets half of the call's time to answer what is on its way and is then
    /// cut off.
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
