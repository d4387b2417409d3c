//! One instance's hub: what arrives from the backplane reaches the sessions that wait for it.
//!
//! Data flows one way: backplane → `pump` → `shard` → outbox → socket; and what clients publish goes through
//! `publisher` to the backplane, from where it comes back like everybody else's. Nothing here knows a client
//! format, an HTTP library or a broker.

pub mod channel;
pub mod command;
pub mod frame;
mod interest;
mod outbox;
mod publisher;
mod pump;
mod session;
mod shard;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use hubplane_backplane::{
    Backplane, Capabilities, Driver, Error, ErrorKind, Opened, Outgoing, Receipt, Result,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use self::{
    command::Ending,
    interest::Interest,
    publisher::{Publisher, ReplyTo},
    shard::Mail,
};
pub use self::{
    publisher::Overloaded,
    pump::Health,
    session::{Admission, Key},
    shard::{Mailbox, Pulse, Shard},
};
use crate::config::Limits;

/// This instance's handle. Its tasks live on the runtime that started it, apart from the shards' threads.
#[derive(Debug)]
pub struct Hub {
    node: String,
    driver: &'static str,
    limits: Limits,
    capabilities: Capabilities,
    backplane: Arc<dyn Backplane>,
    interest: Interest,
    publisher: Publisher,
    pulse: pump::Pulse,
    shards: Vec<mpsc::Sender<Mail>>,
    sessions: Vec<AtomicI64>,
    counts: Counts,
    stopping: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

/// How a hub is to be.
#[derive(Debug)]
pub struct Setup {
    /// The instance's name.
    pub node: String,
    /// What opened its backplane.
    pub driver: &'static dyn Driver,
    /// What it allows.
    pub limits: Limits,
    /// How many shards, each for a thread of its own.
    pub shards: usize,
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages queued to sessions.
    pub deliveries: AtomicU64,
    /// Writes to sockets, for deliveries and everything else.
    pub writes: AtomicU64,
    /// Gaps that the backplane announced.
    pub gaps: AtomicU64,
    /// Sessions cut off because they did not read fast enough.
    pub slow: AtomicU64,
    /// Panics caught.
    pub panics: AtomicU64,
}

impl Hub {
    /// Starts a hub's tasks on the current runtime; each mailbox is for one [`Shard`], on a thread of its own.
    pub fn start(opened: Opened, setup: Setup) -> (Arc<Self>, Vec<Mailbox>) {
        let Setup {
            node,
            driver,
            limits,
            shards,
        } = setup;
        let capabilities = driver.capabilities();
        let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..shards).map(Mailbox::new).unzip();
        let (publisher, line) = Publisher::new(&limits);
        let routed = capabilities.interest == hubplane_backplane::Interest::Routed;
        let hub = Arc::new(Self {
            node,
            driver: driver.schemes()[0],
            interest: Interest::new(routed, limits.interest_linger),
            limits,
            capabilities,
            backplane: opened.backplane,
            publisher,
            pulse: pump::Pulse::new(),
            sessions: senders.iter().map(|_| AtomicI64::new(0)).collect(),
            shards: senders,
            counts: Counts::default(),
            stopping: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let mut tasks = hub.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Arc::clone(&hub);
        tasks.spawn(async move { pump::run(opened.events, &of).await });
        let of = Arc::clone(&hub);
        tasks.spawn(async move { line.run(&*of.backplane, &of.shards).await });
        let of = Arc::clone(&hub);
        tasks.spawn(async move { of.interest.run(&*of.backplane, &of.shards).await });
        drop(tasks);
        (hub, mailboxes)
    }

    /// The instance's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its backend, by the first scheme.
    pub const fn driver(&self) -> &'static str {
        self.driver
    }

    /// What it allows.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What its backend promises.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How it stands with its broker.
    pub fn health(&self) -> Health {
        match self.stopping.load(Ordering::Relaxed) {
            true => Health::Down("this instance is stopping".to_owned()),
            false => self.pulse.health(),
        }
    }

    /// What has happened since the start.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> i64 {
        self.sessions
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// How many sessions a shard has.
    pub fn sessions(&self, shard: usize) -> i64 {
        self.sessions[shard].load(Ordering::Relaxed)
    }

    /// Publishes messages in this order and waits for the broker's answers, one for each.
    ///
    /// # Errors
    /// [`Overloaded`]: too much waits for the broker; nothing of it was published.
    pub async fn publish(
        &self,
        messages: Vec<Outgoing>,
    ) -> std::result::Result<Vec<Result<Receipt>>, Overloaded> {
        let count = messages.len();
        let (caller, answers) = oneshot::channel();
        self.publisher.offer(messages, ReplyTo::Caller(caller))?;
        let closed = |_| {
            (0..count)
                .map(|_| Err(Error::new(ErrorKind::Closed, "hub", "it stops")))
                .collect()
        };
        Ok(answers.await.unwrap_or_else(closed))
    }

    /// Tells every session to end, so that its client goes to another instance.
    pub async fn end_sessions(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for shard in &self.shards {
            // A shard that is gone has no sessions.
            _ = shard.send(Mail::End(Ending::Restart)).await;
        }
    }

    /// Leaves the broker and stops the shards. The hub is of no use afterwards.
    pub async fn close(&self) {
        self.backplane.close().await;
        for shard in &self.shards {
            // A shard that is gone needs no telling.
            _ = shard.send(Mail::Stop).await;
        }
        // The tasks hold the hub; without this it would never be freed.
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    fn backplane(&self) -> &dyn Backplane {
        &*self.backplane
    }

    const fn interest(&self) -> &Interest {
        &self.interest
    }

    const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    fn count_session(&self, shard: usize, change: i64) {
        self.sessions[shard].fetch_add(change, Ordering::Relaxed);
    }

    fn count_deliveries(&self, count: usize) {
        self.counts
            .deliveries
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    fn count_slow(&self) {
        self.counts.slow.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.counts.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("a panic was caught; the session or message that it was about is lost");
    }
}
