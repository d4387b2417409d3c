//! The workload: three hubs, clients that stay and clients that come again, publishers by HTTP and straight to the
//! broker, and everything written down.

mod balancer;
mod client;
mod journal;
pub(crate) mod native;
mod payload;
mod publisher;
pub(crate) mod random;
pub(crate) mod resp;
mod start;
pub(crate) mod valve;
pub(crate) mod wire;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub(crate) use balancer::Balancer;
pub(crate) use client::Habit;
pub(crate) use journal::{Clock, Journal};
pub(crate) use payload::{Payload, fnv};
pub(crate) use start::{new_space, start_hubs};

use crate::{
    Result,
    checker::{self, Phase, Verdict, What},
    drill::Bench,
    hub::Hub,
};

/// Beacons, noticing and announcing a lost tail, after everything is whole and quiet.
const SETTLE: Duration = Duration::from_secs(6);
/// For hubs to be ready, and for all clients to be subscribed.
const READY: Duration = Duration::from_secs(30);

/// How much of everything.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) hubs: usize,
    pub(crate) clients: usize,
    pub(crate) channels: usize,
    /// Messages a second of all publishers together.
    pub(crate) rate: u32,
    pub(crate) bytes: usize,
    /// Of a hundred clients, those that come and go.
    pub(crate) restless: usize,
    /// A publisher straight to the broker.
    pub(crate) native: bool,
    /// That publisher chooses other lanes than the hub does.
    pub(crate) astray: bool,
    /// More options of `hubplane serve`.
    pub(crate) options: Vec<String>,
    /// Clients with habits of their own, beside the others, on the channel `hot`.
    pub(crate) odd: Vec<Habit>,
    /// Messages a second and bytes of one more publisher on the channel `hot`.
    pub(crate) hot: Option<(u32, usize)>,
    /// What keeps the run apart on the broker, where an address already says it.
    pub(crate) space: Option<String>,
    /// The broker's address for each hub, instead of the backend's.
    pub(crate) addresses: Vec<String>,
    /// Put before each hub's program.
    pub(crate) wrappers: Vec<Vec<String>>,
}

/// The usual workload of a backend; drills change single values.
impl Settings {
    pub(crate) fn of(bench: &Bench) -> Self {
        let kind = bench.backend.kind();
        Self {
            // Without a broker, hubs could not hear each other.
            hubs: if kind.has_broker() { 3 } else { 1 },
            clients: 200,
            channels: 50,
            rate: bench.rate.unwrap_or(kind.rate()),
            bytes: 256,
            restless: 10,
            native: kind.has_broker(),
            astray: false,
            options: Vec::new(),
            odd: Vec::new(),
            hot: None,
            space: None,
            addresses: Vec::new(),
            wrappers: Vec::new(),
        }
    }
}

/// What the run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    /// Publishers end; clients stay where they are.
    Settling,
    Ended,
}

/// What every task of a run shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) balancer: Balancer,
    pub(crate) stage: watch::Receiver<Stage>,
    /// Of one channel subscription after another, as they are answered.
    pub(crate) subscribed: AtomicU32,
    /// Messages a second; lowered if the machine can't.
    pub(crate) rate: AtomicU32,
    /// Slow clients read at full speed from now on.
    pub(crate) hurry: AtomicBool,
    pub(crate) channels: usize,
    pub(crate) bytes: usize,
    pub(crate) seed: u64,
}

impl Shared {
    /// Channels by number; numbers beyond the last begin again.
    pub(crate) fn channel(&self, number: u64) -> String {
        format!("c{}", number % self.channels as u64)
    }
}

/// A run.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) hubs: Vec<Hub>,
    /// What keeps this run apart on the broker.
    pub(crate) space: String,
    pub(crate) directory: PathBuf,
    pub(crate) shared: Arc<Shared>,
    /// Changing it is how all tasks are told.
    stage: watch::Sender<Stage>,
    /// The drill's own log.
    faults: Journal,
    /// Ended first, and awaited: what they wrote last must be in their logs.
    clients: JoinSet<Result<()>>,
    publishers: JoinSet<Result<()>>,
}

impl Workload {
    /// Hubs that are ready, clients that are subscribed, publishers that publish.
    pub(crate) async fn start(bench: &Bench, settings: &Settings) -> Result<Self> {
        let space = match &settings.space {
            Some(space) => space.clone(),
            None => new_space()?,
        };
        // Named after the space, so that several runs of one drill have their own.
        let directory = bench.directory.join(&space);
        fs::create_dir_all(&directory)?;
        let hubs = start_hubs(bench, settings, &space).await?;
        let (stage, watching) = watch::channel(Stage::Running);
        let shared = Arc::new(Shared {
            clock: Clock::start(),
            balancer: Balancer::new(
                hubs.iter()
                    .map(|hub| (hub.node().to_owned(), hub.address()))
                    .collect(),
            ),
            stage: watching,
            subscribed: AtomicU32::new(0),
            rate: AtomicU32::new(settings.rate),
            hurry: AtomicBool::new(false),
            channels: settings.channels,
            bytes: settings.bytes,
            seed: bench.seed,
        });
        let mut workload = Self {
            hubs,
            space,
            faults: Journal::create(&directory.join("faults.jsonl"), shared.clock)?,
            directory,
            shared,
            stage,
            clients: JoinSet::new(),
            publishers: JoinSet::new(),
        };
        // Subscribed before anything is published: otherwise nothing would be expected of them.
        workload.start_clients(settings).await?;
        workload.start_publishers(bench, settings)?;
        workload.fit(settings).await;
        Ok(workload)
    }

    /// Starts the clients and returns when each channel of each is subscribed.
    async fn start_clients(&mut self, settings: &Settings) -> Result<()> {
        // A share of every hundred, so that any number has both kinds.
        let habits = (0..settings.clients).map(|number| {
            if number % 100 < settings.restless {
                Habit::Restless
            } else {
                Habit::Steady
            }
        });
        let mut wanted = 0;
        for (number, habit) in habits.chain(settings.odd.iter().copied()).enumerate() {
            let first = number as u64;
            let channels = if number < settings.clients {
                vec![
                    self.shared.channel(first),
                    // 7 and 13, so that two clients with one channel in common seldom have both.
                    self.shared.channel(first * 7 + 13),
                ]
            } else {
                vec!["hot".to_owned()]
            };
            // The two may be the same, and a channel can't be subscribed to twice.
            let channels = if channels.len() == 2 && channels[0] == channels[1] {
                channels[..1].to_vec()
            } else {
                channels
            };
            wanted += channels.len();
            let path = self.directory.join(format!("client-{number:04}.jsonl"));
            let journal = Journal::create(&path, self.shared.clock)?;
            let client =
                client::Client::new(number, habit, channels, Arc::clone(&self.shared), journal);
            self.clients.spawn(client.run());
            // In groups of twenty, so that hubs are not asked for all at once.
            if number % 20 == 19 {
                sleep(Duration::from_millis(50)).await;
            }
        }
        let start = Instant::now();
        while (self.shared.subscribed.load(Ordering::Relaxed) as usize) < wanted {
            if start.elapsed() > READY {
                let count = self.shared.subscribed.load(Ordering::Relaxed);
                return Err(
                    format!("only {count} of {wanted} subscriptions after {READY:?}").into(),
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts the publishers: some at the hubs, one straight to the broker, one more if there is a
    /// hot channel.
    fn start_publishers(&mut self, bench: &Bench, settings: &Settings) -> Result<()> {
        // As many as hubs, twice; a tenth of the rate goes straight to the broker.
        let count = settings.hubs * 2;
        for number in 0..count {
            let name = format!("h{number}");
            let share = 1.0 / count as f64 * if settings.native { 0.9 } else { 1.0 };
            let publisher = publisher::Publisher::new(
                number,
                &name,
                share,
                Arc::clone(&self.shared),
                self.journal(&name)?,
            );
            self.publishers.spawn(publisher.run());
        }
        if let Some((rate, bytes)) = settings.hot {
            let journal = self.journal("hot")?;
            let publisher =
                publisher::Publisher::new(0, "hot", 0.0, Arc::clone(&self.shared), journal)
                    .hot(rate, bytes);
            self.publishers.spawn(publisher.run());
        }
        if settings.native {
            let journal = self.journal("native")?;
            let target =
                native::Target::new(bench.backend.kind(), bench.backend.authority(), &self.space)
                    .astray(settings.astray);
            self.publishers.spawn(native::run(
                "n",
                target,
                0.1,
                Arc::clone(&self.shared),
                journal,
            ));
        }
        Ok(())
    }

    /// A publisher's log.
    fn journal(&self, name: &str) -> Result<Journal> {
        Journal::create(
            &self.directory.join(format!("publisher-{name}.jsonl")),
            self.shared.clock,
        )
    }

    /// Halves the rate while the machine can't: the count matters, not the rate.
    async fn fit(&self, settings: &Settings) {
        // Three attempts: a machine that can't keep up with an eighth is not worth waiting for.
        let mut rate = settings.rate;
        // Starting takes CPU time of its own, which must not count.
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            let before = start::cpu_times();
            sleep(Duration::from_secs(1)).await;
            let after = start::cpu_times();
            let (idle, all) = (
                after.0.saturating_sub(before.0),
                after.1.saturating_sub(before.1).max(1),
            );
            // A seventh of the machine idle is enough to trust times.
            if idle * 100 / all >= 15 || rate <= 100 {
                break;
            }
            rate /= 2;
            self.shared.rate.store(rate, Ordering::Relaxed);
        }
    }

    pub(crate) fn rate(&self) -> u32 {
        self.shared.rate.load(Ordering::Relaxed)
    }

    /// Writes down that something is broken, being mended, or whole.
    pub(crate) fn fault(&mut self, what: &str, phase: Phase) -> Result<()> {
        self.faults.write(&What::Fault {
            what: what.to_owned(),
            phase,
        })?;
        // Flushed at once, as what follows may end this process.
        self.faults.flush()
    }

    /// Microseconds since the run's start.
    pub(crate) fn now(&self) -> u64 {
        self.shared.clock.now()
    }

    /// Another publisher straight to a broker, until it has published so many.
    pub(crate) async fn publish_native(
        &self,
        name: &str,
        target: native::Target,
        count: u64,
    ) -> Result<()> {
        native::some(name, target, count, &self.shared, self.journal(name)?).await
    }

    /// Where a publisher writes straight to a broker at this host and port.
    pub(crate) fn target(&self, bench: &Bench, authority: &str) -> native::Target {
        native::Target::new(bench.backend.kind(), authority, &self.space)
    }

    /// Ends the publishers, waits until all is quiet, ends the clients, and counts.
    pub(crate) async fn finish(&mut self) -> Result<Verdict> {
        self.settle().await?;
        self.end().await
    }

    /// Ends the publishers and waits until everything that is still to be said can have been said.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        self.stage.send_replace(Stage::Settling);
        // 30 s for one of them: a publisher ends after the message that it is at.
        while let Some(ended) =
            timeout(Duration::from_secs(30), self.publishers.join_next()).await?
        {
            ended??;
        }
        for hub in &self.hubs {
            // A hub that is not ready is the checker's affair: its clients have heard something or not.
            _ = hub.until_ready(true, READY).await;
        }
        sleep(SETTLE).await;
        Ok(())
    }

    /// Ends the clients and counts.
    async fn end(&mut self) -> Result<Verdict> {
        self.stage.send_replace(Stage::Ended);
        while let Some(ended) = timeout(Duration::from_secs(30), self.clients.join_next()).await? {
            ended??;
        }
        self.faults.flush()?;
        let directory = self.directory.clone();
        // Reading all logs takes seconds, and must not hold the runtime up.
        tokio::task::spawn_blocking(move || checker::check(&directory)).await?
    }
}
