//! The handle of an instance's hub: it wires the rooms together, starts their tasks, and ends them.
//!
//! The rooms' own state is theirs: each is reached by a method of its name, and nothing outside of this file sees a field
//! of the hub.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use hubplane_backplane::{
    Backplane, Capabilities, Driver, Error, ErrorKind, Events, Opened, Outgoing, Result,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
};

use super::{
    ClientPosition, Counts, Health, InboundBytes, Limits, MOST_SHARDS, Mailbox, Overloaded,
    beacon::{self, BeaconMonitor},
    connections::{self, Connections},
    disconnect::{self, Refused},
    interest::Interest,
    log::Log,
    origin::new_origin,
    presence::{self, SharedPresence},
    publisher::{PublishLoop, Publisher, ReplyTo},
    pump::{self, Pump},
    recovery::{self, RecoveryQueue},
    shard::Mail,
    users::Users,
};

/// This instance's handle. Its tasks live on the runtime that started it, apart from the shards' threads.
#[derive(Debug)]
pub struct Hub {
    node: String,
    /// The first scheme of the backend, for errors and `/v1/backplane`.
    driver: &'static str,
    /// The name of this process among all that publish: random, and new at each start.
    origin: u128,
    started: Instant,
    limits: Limits,
    /// What clients have begun to send, but not finished.
    inbound: InboundBytes,
    capabilities: Capabilities,
    backplane: Arc<dyn Backplane>,
    /// Which channels the broker must carry to here.
    interest: Interest,
    publisher: Publisher,
    /// What is known of what has been published.
    log: Log,
    /// Tokens that were revoked.
    refused: Refused,
    /// Questions which connections a user has.
    connections: Connections,
    /// How many sessions each user has here.
    users: Users,
    /// Who is on which channel, on all instances.
    presence: SharedPresence,
    /// This instance's own beacons on their way; locked for a step, never across an await.
    beacon_monitor: Mutex<BeaconMonitor>,
    /// Wakes the publisher for a beacon before its time.
    beacon_now: Notify,
    /// How this instance stands with its broker.
    health_state: pump::HealthState,
    /// Subscriptions whose past is to be read from the broker.
    reads: RecoveryQueue,
    /// The hub's end of each shard's mailbox.
    shards: Vec<mpsc::Sender<Mail>>,
    /// How many sessions each shard has.
    sessions: Vec<AtomicI64>,
    /// Signalled when a shard's last session is gone.
    emptied: Notify,
    counts: Counts,
    /// True once this instance stops, so that `/ready` says no.
    stopping: AtomicBool,
    /// The hub's tasks, which end with it.
    tasks: Mutex<JoinSet<()>>,
}

/// What a hub is made of.
#[derive(Debug)]
pub struct Setup {
    /// The instance's name, for people.
    pub node: String,
    /// What opened its backplane.
    pub driver: &'static dyn Driver,
    /// What it allows. They must have passed [`Limits::check`].
    pub limits: Limits,
    /// How many shards, each for a thread of its own; [`MOST_SHARDS`] at most.
    pub shards: usize,
}

impl Hub {
    /// Starts a hub's tasks on the current runtime. Each mailbox is for one [`Shard`](crate::Shard), on a thread
    /// of its own.
    ///
    /// # Errors
    /// `Unavailable` if the system gives no random numbers.
    pub fn start(opened: Opened, setup: Setup) -> Result<(Arc<Self>, Vec<Mailbox>)> {
        let Setup {
            node,
            driver,
            limits,
            shards,
        } = setup;
        let capabilities = driver.capabilities();
        let (senders, mailboxes): (Vec<_>, Vec<_>) =
            (0..shards.clamp(1, MOST_SHARDS)).map(Mailbox::new).unzip();
        let origin = new_origin(getrandom::u64)?;
        let (publisher, line) = Publisher::new(&limits, origin);
        let routed = capabilities.interest == hubplane_backplane::Interest::Routed;
        let hub = Arc::new(Self {
            node,
            driver: driver.schemes()[0],
            origin,
            started: Instant::now(),
            interest: Interest::new(routed, limits.interest_linger),
            log: Log::new(&limits),
            refused: Refused::default(),
            connections: Connections::default(),
            users: Users::default(),
            presence: SharedPresence::new(origin, &limits),
            reads: RecoveryQueue::new(limits.subscriptions),
            inbound: InboundBytes::new(limits.unfinished_bytes),
            limits,
            capabilities,
            backplane: opened.backplane,
            publisher,
            beacon_monitor: Mutex::default(),
            beacon_now: Notify::new(),
            health_state: pump::HealthState::new(),
            sessions: senders.iter().map(|_| AtomicI64::new(0)).collect(),
            emptied: Notify::new(),
            shards: senders,
            counts: Counts::default(),
            stopping: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        if !capabilities.has_positions() {
            // A log's lanes are watched once the backend has named them.
            let sequence = hub.sequence_of(&beacon::CHANNEL.into());
            hub.beacon_monitor().watch(sequence, Instant::now());
        }
        // The hub itself listens on these, whether or not a client ever subscribes.
        hub.interest.keep(&beacon::CHANNEL.into());
        hub.interest.keep(&presence::CHANNEL.into());
        hub.interest.keep(&disconnect::CHANNEL.into());
        hub.interest.keep(&connections::CHANNEL.into());
        hub.spawn(opened.events, line);
        Ok((hub, mailboxes))
    }

    /// Starts the tasks that live as long as the hub.
    fn spawn(self: &Arc<Self>, events: Events, line: PublishLoop) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Arc::clone(self);
        tasks.spawn(async move { Pump::new(&of).run(events).await });
        let of = Arc::clone(self);
        tasks.spawn(async move { line.run(&of).await });
        let of = Arc::clone(self);
        tasks.spawn(async move {
            let (interest, backplane, shards) = (&of.interest, &*of.backplane, &of.shards);
            interest
                .run(backplane, shards, &of.log, &of.beacon_now)
                .await;
        });
        let of = Arc::clone(self);
        tasks.spawn(async move { pump::watch(&of).await });
        tasks.spawn(recovery::run(Arc::clone(self)));
        tasks.spawn(presence::attend(Arc::clone(self)));
        tasks.spawn(presence::speak(Arc::clone(self)));
        tasks.spawn(disconnect::run(Arc::clone(self)));
        tasks.spawn(connections::run(Arc::clone(self)));
    }

    /// Waits until this instance hears everything, so that it may say that it is ready: the window
    /// is filled, and its first beacon has come back. Returns false if that takes longer than
    /// `most`.
    pub async fn heard(&self, most: Duration) -> bool {
        self.health_state.is_up_within(most).await
    }

    /// Returns the instance's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns the backend's first scheme, such as `kafka`.
    pub const fn driver(&self) -> &'static str {
        self.driver
    }

    /// Returns what this hub allows.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the count of what clients have begun to send, but not finished.
    pub const fn inbound(&self) -> &InboundBytes {
        &self.inbound
    }

    /// Returns what the backend promises.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns how the hub stands with its broker. While it stops it is down, so that balancers
    /// send nobody.
    pub fn health(&self) -> Health {
        match self.stopping.load(Ordering::Relaxed) {
            true => Health::Down("this instance is stopping".to_owned()),
            false => self.health_state.health(),
        }
    }

    /// Returns the bytes and the messages of the window.
    pub fn window_size(&self) -> (usize, usize) {
        self.log.window().size()
    }

    /// Returns what has happened since the start.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns how many sessions there are.
    pub fn session_count(&self) -> i64 {
        self.sessions
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Returns how many sessions a shard has, so that a new one goes to the shard with the fewest.
    pub fn sessions(&self, shard: usize) -> i64 {
        self.sessions[shard].load(Ordering::Relaxed)
    }

    /// Publishes messages in this order and waits for the broker's answers, one for each: the
    /// message's position, `None` where the broker has none, or why it was not published. Takes
    /// `publish_timeout` and a little more at most.
    ///
    /// # Errors
    /// [`Overloaded`] if too much waits for the broker; none of the messages was published then.
    pub async fn publish(
        &self,
        messages: Vec<Outgoing>,
    ) -> std::result::Result<Vec<Result<Option<ClientPosition>>>, Overloaded> {
        let count = messages.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        // The publisher answers each message, so the answer comes as soon as the last one has its
        // own.
        let (caller, answers) = oneshot::channel();
        self.publisher.offer(messages, ReplyTo::Caller(caller))?;
        let closed = |_| {
            (0..count)
                .map(|_| Err(Error::new(ErrorKind::Closed, "hub", "it stops")))
                .collect()
        };
        Ok(answers.await.unwrap_or_else(closed))
    }

    /// Returns how many messages wait for the broker's answer.
    pub fn publishing(&self) -> usize {
        self.publisher.waiting()
    }

    /// Makes `/ready` say no from now on. All else goes on.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Tells every session to end, so that its client goes to another instance. The ends are spread
    /// evenly over `over`, so that the other instances are not asked for all clients at once.
    /// Returns at once; `/ready` says no from now on.
    pub async fn end_sessions(&self, over: Duration) {
        self.set_stopping();
        self.post(|| Mail::Drain(over)).await;
    }

    /// Waits until no session is left. New ones may begin at any time, so it means something only
    /// once no connection is accepted.
    pub async fn until_no_sessions(&self) {
        while self.session_count() != 0 {
            self.emptied.notified().await;
        }
        // If others wait, too, the signal goes round.
        self.emptied.notify_one();
    }

    /// Leaves the broker and stops the shards. The hub is of no use afterwards.
    pub async fn close(&self) {
        // The goodbye needs the broker, so it comes first.
        self.take_leave().await;
        self.backplane.close().await;
        self.post(|| Mail::Stop).await;
        // The tasks hold the hub, which would never be freed while they run.
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    // The rooms, for one another.

    /// This process among all that publish.
    pub(crate) const fn origin(&self) -> u128 {
        self.origin
    }

    /// When this process began.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    pub(crate) const fn backplane(&self) -> &Arc<dyn Backplane> {
        &self.backplane
    }

    pub(crate) const fn interest(&self) -> &Interest {
        &self.interest
    }

    pub(crate) const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Tokens that were revoked.
    pub(crate) const fn refused(&self) -> &Refused {
        &self.refused
    }

    pub(crate) const fn presence(&self) -> &SharedPresence {
        &self.presence
    }

    pub(crate) const fn health_state(&self) -> &pump::HealthState {
        &self.health_state
    }

    /// The subscriptions whose past is to be read from the broker.
    pub(crate) const fn reads(&self) -> &RecoveryQueue {
        &self.reads
    }

    /// Where each shard takes its mail.
    pub(crate) fn shards(&self) -> &[mpsc::Sender<Mail>] {
        &self.shards
    }

    /// Wakes whoever sends beacons: one is wanted before its time.
    pub(crate) const fn beacon_now(&self) -> &Notify {
        &self.beacon_now
    }

    pub(crate) fn beacon_monitor(&self) -> MutexGuard<'_, BeaconMonitor> {
        self.beacon_monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn count_session(&self, shard: usize, change: i64) {
        let before = self.sessions[shard].fetch_add(change, Ordering::Relaxed);
        // It stays if nobody waits yet. Who waits looks at all shards, whichever is the last.
        if before + change == 0 {
            self.emptied.notify_one();
        }
    }

    /// Counts a panic that was caught, and logs it.
    pub fn count_panic(&self) {
        self.counts.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("a panic was caught; the session or message that it was about is lost");
    }
}
