//! Publishing: one producer, in order, each record acknowledged by all in-sync replicas.
//!
//! What must hold: an error that is not `Unknown` means that the record was surely not stored,
//! because the hub then tries again. librdkafka repeats a record by itself only under its sequence
//! number (`enable.idempotence`), so the broker stores it once. This file never publishes anything
//! twice.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use hubplane_backplane::{Error, ErrorKind, Outgoing, Receipt, Result};
use rdkafka::{
    Message as _,
    error::RDKafkaErrorCode,
    producer::future_producer::Delivery,
    producer::{DeliveryFuture, FutureRecord, Producer as _, PurgeConfig},
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    CAPABILITIES, NAME, client::Producer, config::MESSAGE_TIMEOUT, failure::closed, partition,
    record, shared::Shared,
};

/// How long to wait for the topic's metadata, which one question brings.
const METADATA: Duration = Duration::from_secs(1);
/// librdkafka answers for a record a little after its timeout, not exactly then. This is how much
/// later is waited for.
const GRACE: Duration = Duration::from_millis(400);

/// The producer of an instance. A new one takes its place when librdkafka calls it broken; `None`
/// once it is closed.
pub(crate) struct Publisher {
    client: Mutex<Option<Arc<Producer>>>,
    /// How many partitions the producer knows of, at least.
    known: AtomicU32,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

impl Publisher {
    /// Returns a publisher that uses this producer.
    pub(crate) fn new(client: Producer) -> Self {
        Self {
            client: Mutex::new(Some(Arc::new(client))),
            known: AtomicU32::new(0),
        }
    }

    /// Publishes a batch, and returns one answer for each message, in their order. All are handed
    /// to the producer before any answer is waited for, so they stay in order and travel together.
    pub(crate) async fn publish(
        &self,
        shared: &Shared,
        batch: &[Outgoing],
    ) -> Vec<Result<Receipt>> {
        // Nothing is handed to the producer while the broker is away, so the answer is certain:
        // nothing was sent.
        if shared.down.load(Ordering::Relaxed) {
            return batch
                .iter()
                .map(|outgoing| Err(refusal(outgoing).unwrap_or_else(away)))
                .collect();
        }
        let layout = shared.layout();
        if self.known.load(Ordering::Relaxed) < layout.partitions {
            self.learn(shared, layout.partitions).await;
        }
        let sent = self.hand_over(shared, layout.partitions, batch);
        join_all(
            sent.into_iter()
                .map(|sent| async move { answered(shared, sent?, layout.epoch).await }),
        )
        .await
    }

    /// Makes the producer ask for the topic's metadata. By itself it would do so only after
    /// seconds, and until then it takes nothing for partitions that were added.
    async fn learn(&self, shared: &Shared, partitions: u32) {
        let (client, topic) = (self.client(shared), shared.config.topic.clone());
        let asked = spawn_blocking(move || {
            let metadata = client?.client().fetch_metadata(Some(&topic), METADATA);
            let metadata = metadata.ok()?;
            let found = metadata.topics().iter().find(|it| it.name() == topic)?;
            u32::try_from(found.partitions().len()).ok()
        });
        let found = asked.await.ok().flatten();
        if found.is_some_and(|found| found >= partitions) {
            self.known.store(partitions, Ordering::Relaxed);
        }
    }

    /// Hands a batch to the producer. The producer is held no longer than this takes, so that
    /// `close` can end it.
    fn hand_over(
        &self,
        shared: &Shared,
        partitions: u32,
        batch: &[Outgoing],
    ) -> Vec<Result<DeliveryFuture>> {
        match self.client(shared) {
            Some(client) => batch
                .iter()
                .map(|outgoing| send(&client, shared, outgoing, partitions))
                .collect(),
            None => batch.iter().map(|_| Err(closed())).collect(),
        }
    }

    /// Closes the producer. It gives up what waits, whose answers are then `Unknown`. Blocks.
    pub(crate) fn close(&self) {
        let client = self.locked().take();
        if let Some(client) = client {
            end(client);
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Arc<Producer>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the producer, or `None` once it is closed. After a fatal error, such as a sequence
    /// that the broker can't follow any more, it is made anew: librdkafka takes nothing more with
    /// the old one.
    fn client(&self, shared: &Shared) -> Option<Arc<Producer>> {
        let mut current = self.locked();
        let (code, reason) = match current.as_ref()?.client().fatal_error() {
            Some(fatal) => fatal,
            None => return current.clone(),
        };
        tracing::warn!(%code, reason, "the producer is broken; making a new one");
        match shared.producer() {
            Ok(new) => {
                let old = current.replace(Arc::new(new));
                self.known.store(0, Ordering::Relaxed);
                if let Some(old) = old {
                    shared.end_aside(move || end(old));
                }
            }
            Err(error) => tracing::error!(%error, "no new producer"),
        }
        current.clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let client = self.locked().take();
        // The producer's end blocks, and this may be a thread of the runtime.
        client.map(|client| thread::spawn(move || end(client)));
    }
}

/// Ends a producer once nobody is handing anything to it. Blocks until then.
fn end(mut client: Arc<Producer>) {
    client.purge(PurgeConfig::default().queue().inflight());
    loop {
        client = match Arc::try_unwrap(client) {
            Ok(last) => return drop(last),
            Err(shared) => shared,
        };
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns an error for a message that this backend does not hand to the broker at all.
fn refusal(outgoing: &Outgoing) -> Option<Error> {
    let payload = outgoing.data.len();
    CAPABILITIES.check(NAME, &outgoing.channel, payload).err()
}

/// Returns the answer while the broker is away.
fn away() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        NAME,
        "the broker is away; nothing was sent",
    )
}

/// Hands one record to the producer, without waiting. `send_result` is used because the other way
/// to send waits 100 ms where the queue is full.
fn send(
    client: &Producer,
    shared: &Shared,
    outgoing: &Outgoing,
    partitions: u32,
) -> Result<DeliveryFuture> {
    if let Some(refusal) = refusal(outgoing) {
        return Err(refusal);
    }
    let partition = partition::of(outgoing.channel.as_bytes(), partitions);
    let record = FutureRecord::to(&shared.config.topic)
        .key(outgoing.channel.as_bytes())
        .payload(&outgoing.data[..])
        // Chosen here and not by librdkafka, whose own partitioner disagrees with Java's.
        .partition(i32::try_from(partition).unwrap_or_default())
        .headers(record::headers(outgoing));
    client
        .send_result(record)
        .map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Error::new(
                ErrorKind::Unavailable,
                NAME,
                "too many records wait for the broker",
            )
            .with_source(error),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::new(
                ErrorKind::Rejected,
                NAME,
                "larger than this producer may send",
            )
            .with_source(error),
            _ => Error::new(ErrorKind::Unavailable, NAME, "the producer did not take it")
                .with_source(error),
        })
}

/// Waits for the broker's answer for one record, and turns it into the contract's words. Whatever
/// is not surely a refusal is `Unknown`.
async fn answered(shared: &Shared, sent: DeliveryFuture, epoch: u64) -> Result<Receipt> {
    let unknown = |message: &str| Error::new(ErrorKind::Unknown, NAME, message);
    match timeout(MESSAGE_TIMEOUT + GRACE, sent).await {
        Ok(Ok(Ok(Delivery {
            partition, offset, ..
        }))) => {
            // The watching thread compares this with the log's end, to see whether a transaction
            // holds the partition up.
            shared.acknowledge(epoch, partition, offset + 1);
            let stored = record::position(epoch, partition, offset + 1);
            Ok(Receipt::Stored(stored))
        }
        Ok(Ok(Err((error, record)))) => Err(match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge,
            ) => Error::new(
                ErrorKind::Rejected,
                NAME,
                "larger than the topic's max.message.bytes",
            )
            .with_source(error),
            Some(RDKafkaErrorCode::InvalidTimestamp | RDKafkaErrorCode::InvalidRecord) => {
                Error::new(
                    ErrorKind::Rejected,
                    NAME,
                    "the broker refuses the record: this machine's clock is too far from the broker's for the topic \
                     (message.timestamp.type=LogAppendTime lets the broker set the time), or the topic has rules of its own",
                )
                .with_source(error)
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Error::new(
                ErrorKind::Rejected,
                NAME,
                "the user may not write to the topic",
            )
            .with_source(error),
            _ => {
                // librdkafka says only that no answer came. If too few replicas are in sync, that
                // is the reason.
                let short = shared.short().get(&record.partition()).cloned();
                let message = match short {
                    Some(reason) => format!("no acknowledgement; it may be stored: {reason}"),
                    None => "no acknowledgement; it may be stored".to_owned(),
                };
                unknown(&message).with_source(error)
            }
        }),
        Ok(Err(_canceled)) => Err(unknown("the producer ended before the acknowledgement")),
        Err(_late) => Err(unknown("no acknowledgement in time; it may be stored")),
    }
}
