//! Opening an instance: what must be true before the hub is given one, in the order in which it is
//! found out.
//!
//! First the broker and the topic, then the topic's settings, the end of each partition, and the
//! user's rights. An error names the first of them that is wrong. All of it blocks, so it runs off
//! the runtime.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hubplane_backplane::{Error, ErrorKind, Event, EventSender, Opened, Result, events};
use rdkafka::{
    Offset,
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    NAME,
    client::{Consumer, Offsets},
    config::Config,
    consume::{self, ReaderCommand},
    failure,
    instance::Instance,
    publish::Publisher,
    record, rights,
    settings::{self, SettingsReader, SettingsWatch},
    shared::{Layout, Shared},
    topic,
    watch::{self, Look},
};

/// How long opening may take; a little less than the contract's time for it.
const OPEN: Duration = Duration::from_secs(14);
/// How long to wait for the end of each partition. The leaders of a new topic are still being
/// chosen.
const ENDS: Duration = Duration::from_secs(4);
/// Events that may wait for the hub, besides one for each lane. When they are full, the reading
/// thread waits.
const QUEUE: usize = 32;
/// Commands that may wait for the reading thread.
const ORDERS: usize = 64;

/// Opens an instance that reads from the topic's end as it is now.
///
/// # Errors
/// `Config`: the address, the topic's settings or the user's rights are wrong, so trying again is
/// no use. `Unavailable`: the broker can't be reached, or answers too slowly.
pub(crate) async fn open(config: Config) -> Result<Opened> {
    let late = format!("{} answers too slowly", config.brokers);
    let opening = timeout(OPEN, spawn_blocking(move || connect(config))).await;
    let unavailable = |message: &str| Error::new(ErrorKind::Unavailable, NAME, message);
    match opening {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => Err(unavailable("opening failed").with_source(error)),
        Err(error) => Err(unavailable(&late).with_source(error)),
    }
}

/// Does the opening, on a thread that may block.
fn connect(config: Config) -> Result<Opened> {
    let shared = Shared::new(config);
    let probe = shared.probe().map_err(refused)?;
    let producer = shared.producer().map_err(refused)?;
    let partitions = topic::ready(&shared.config, &probe, &shared.trouble)?;
    let reader = SettingsReader::new(&shared.config).map_err(refused)?;
    let settings = reader.read();
    settings::check(&shared.config.topic, settings.as_ref())?;
    let ends = ends(&shared, &probe, partitions)?;
    let epoch = topic::epoch(&shared, &probe, partitions);
    let (sender, events) = events(QUEUE + ends.len());
    for (partition, end) in &ends {
        // The hub learns where each lane begins before the first message of it.
        sender
            .try_send(Event::Progress(record::position(epoch, *partition, *end)))
            .expect("invariant: a new queue has room for every lane");
    }
    shared.set_layout(Layout { partitions, epoch });
    let live = shared.consumer().map_err(refused)?;
    rights::check(&shared.config, &live, &producer, &ends)?;
    // The rights were tried with the consumer that will read, at these places.
    shared.places().next = ends;
    shared.trouble.over();
    let shared = Arc::new(shared);
    let look = Look {
        probe,
        settings: SettingsWatch::new(reader, settings),
    };
    let threads = threads(&shared, live, look, &sender)?;
    Ok(Opened {
        backplane: Arc::new(Instance::new(shared, Publisher::new(producer), threads)),
        events,
    })
}

/// Starts the reading and the watching thread. They end when the instance is closed.
fn threads(
    shared: &Arc<Shared>,
    live: Consumer,
    look: Look,
    events: &EventSender,
) -> Result<Vec<JoinHandle<()>>> {
    let (orders, inbox): (_, Receiver<ReaderCommand>) = sync_channel(ORDERS);
    let unavailable = |error| {
        Error::new(ErrorKind::Unavailable, NAME, "no thread is to be had").with_source(error)
    };
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    let (own, sender) = (Arc::clone(shared), events.clone());
    let reading = named("kafka-read").spawn(move || consume::run(&own, live, &inbox, &sender));
    let (own, sender) = (Arc::clone(shared), events.clone());
    let watching = named("kafka-watch").spawn(move || watch::run(&own, look, &orders, &sender));
    Ok(vec![
        reading.map_err(unavailable)?,
        watching.map_err(unavailable)?,
    ])
}

/// Returns the next offset of every partition. Waits up to [`ENDS`] for leaders that are still
/// being chosen.
fn ends(shared: &Shared, probe: &Consumer, partitions: u32) -> Result<Offsets> {
    let all = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
    let until = Instant::now() + ENDS;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let error =
            match topic::offsets(probe, &shared.config.topic, all.clone(), Offset::End, left) {
                Ok(ends) if ends.len() == partitions as usize => return Ok(ends),
                Ok(_) => KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable),
                Err(error) => error,
            };
        if left.is_zero() {
            let message = format!("the end of {:?} can't be read", shared.config.topic);
            return Err(failure::failed(ErrorKind::Unavailable, message, error));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the error of a setting that librdkafka doesn't take. The value is not shown: it may be a
/// secret whose name was misspelt.
fn refused(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, reason, key, _) => Error::new(
            ErrorKind::Config,
            NAME,
            format!("librdkafka refuses the setting kafka.{key}: {reason}"),
        ),
        error => failure::failed(ErrorKind::Config, "librdkafka refuses the settings", error),
    }
}
