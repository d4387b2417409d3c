//! Opening an instance.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    thread,
    time::Duration,
};

use hubplane_backplane::{Error, ErrorKind, Event, EventSender, Opened, Result, events};
use rdkafka::{config::FromClientConfigAndContext, consumer::Consumer, error::KafkaError};
use tokio::task::spawn_blocking;

use crate::{
    NAME,
    config::Config,
    consume,
    context::{Context, Trouble},
    instance::Instance,
    publish::Publisher,
    record,
    topic::{self, Probe},
    watch,
};

/// Batches that may wait for the hub.
const QUEUE: usize = 64;
/// Orders that may wait for the reading thread.
const ORDERS: usize = 64;
/// Whether a thread that waits for room may go on is looked at this often.
const PAUSE: Duration = Duration::from_millis(2);

/// What the threads of an instance share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) partitions: AtomicU32,
    pub(crate) epoch: AtomicU64,
    /// The next offset of each partition.
    pub(crate) next: Mutex<BTreeMap<i32, i64>>,
    pub(crate) down: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// The reading thread waits for the hub.
    pub(crate) held: AtomicBool,
}

impl Shared {
    pub(crate) fn next(&self) -> BTreeMap<i32, i64> {
        self.next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Hands an event to the hub, waiting for room for as long as the instance is open. `false`: it is not.
    pub(crate) fn send(&self, events: &EventSender, event: Event) -> bool {
        let mut event = event;
        while !self.is_closed() {
            match events.try_send(event) {
                Ok(()) => return true,
                Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return false,
                Err(tokio::sync::mpsc::error::TrySendError::Full(back)) => event = back,
            }
            thread::sleep(PAUSE);
        }
        false
    }
}

/// A consumer; a setting that librdkafka doesn't know is named in the error.
pub(crate) fn consumer(config: &Config, trouble: &Arc<Trouble>) -> Result<Probe, KafkaError> {
    Probe::from_config_and_context(&config.consumer(), Context(Arc::clone(trouble)))
}

pub(crate) async fn open(config: Config) -> Result<Opened> {
    let opening = spawn_blocking(move || connect(config));
    let joined = opening.await;
    joined.map_err(|error| {
        Error::new(ErrorKind::Unavailable, NAME, "opening failed").with_source(error)
    })?
}

fn connect(config: Config) -> Result<Opened> {
    let wrong = |error| topic::failed(ErrorKind::Config, "librdkafka refuses a setting", error);
    let trouble = Arc::new(Trouble::default());
    let probe = consumer(&config, &trouble).map_err(wrong)?;
    let publisher = Publisher::new(&config, &trouble).map_err(wrong)?;
    let partitions = topic::ready(&config, &probe, &trouble)?;
    topic::check(&config)?;
    let cluster = probe.client().fetch_cluster_id(Duration::from_secs(3));
    let epoch = topic::epoch(cluster.as_deref(), &config.topic, partitions);
    let (sender, events) = events(QUEUE + partitions as usize);
    let mut next = BTreeMap::new();
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        let (_, end) = ends(&probe, &config.topic, partition)?;
        next.insert(partition, end);
        sender
            .try_send(Event::Progress(record::position(epoch, partition, end)))
            .expect("invariant: a new queue has room for every lane");
    }
    let shared = Arc::new(Shared {
        config,
        trouble,
        partitions: AtomicU32::new(partitions),
        epoch: AtomicU64::new(epoch),
        next: Mutex::new(next),
        down: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        held: AtomicBool::new(false),
    });
    shared.trouble.all_down.store(false, Ordering::Relaxed);
    let live = consumer(&shared.config, &shared.trouble).map_err(wrong)?;
    let (orders, inbox) = sync_channel(ORDERS);
    let unavailable = |error| {
        Error::new(ErrorKind::Unavailable, NAME, "no thread is to be had").with_source(error)
    };
    let reading = {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        thread::Builder::new()
            .name("kafka-read".to_owned())
            .spawn(move || consume::run(&shared, live, &inbox, &sender))
    };
    let watching = {
        let shared = Arc::clone(&shared);
        thread::Builder::new()
            .name("kafka-watch".to_owned())
            .spawn(move || watch::run(&shared, probe, &orders, &sender))
    };
    let threads = vec![
        reading.map_err(unavailable)?,
        watching.map_err(unavailable)?,
    ];
    Ok(Opened {
        backplane: Arc::new(Instance::new(shared, publisher, threads)),
        events,
    })
}

/// The first and the next offset of a partition; a partition whose leader is still being chosen is asked again.
fn ends(probe: &Probe, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let mut tries = 0;
    loop {
        match probe.fetch_watermarks(topic, partition, Duration::from_secs(1)) {
            Ok(ends) => return Ok(ends),
            Err(error) if tries >= 20 => {
                let message =
                    format!("the end of partition {partition} of {topic:?} can't be read");
                return Err(topic::failed(ErrorKind::Unavailable, message, error));
            }
            Err(_) => tries += 1,
        }
        thread::sleep(Duration::from_millis(100));
    }
}
