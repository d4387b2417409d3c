//! What the user must be allowed to do, tried when an instance opens: a right that is missing is an error that names it,
//! instead of a hub that starts and hears nothing. All of it blocks; it runs off the runtime.

use std::time::{Duration, Instant};

use hubplane_backplane::{Error, ErrorKind, Result};
use rdkafka::{
    Offset, TopicPartitionList,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureRecord, future_producer::Delivery},
};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    NAME,
    client::{Consumer, Offsets, Producer, assign},
    config::Config,
    failure::failed,
};

/// The key of the record that a starting instance writes. Instances pass over it.
pub(crate) const PROBE_KEY: &str = "$hubplane/probe";

/// How long the broker may take to answer. One that is slower has not refused anything.
const ANSWER: Duration = Duration::from_secs(2);
/// How long one poll listens.
const STEP: Duration = Duration::from_millis(50);

/// Returns an error (`Config`) if the broker says that this user may not write to the topic, or may
/// not read it. Kafka has no question for that, so one record is written and the ends of the
/// partitions are read.
pub(crate) fn check(
    config: &Config,
    live: &Consumer,
    producer: &Producer,
    ends: &Offsets,
) -> Result<()> {
    let record = FutureRecord::<str, [u8]>::to(&config.topic)
        .key(PROBE_KEY)
        .payload(&[])
        .partition(0);
    let written = producer.send_result(record).map_err(|(error, _)| error);
    // The two are tried at the same time: the write is under way while this reads.
    may_read(config, live, ends)?;
    let answer = match written {
        Ok(answer) => Handle::current().block_on(async { timeout(ANSWER, answer).await }),
        Err(error) => return denied(config, error, "write to"),
    };
    match answer {
        Ok(Ok(Err((error, _)))) => denied(config, error, "write to"),
        // Stored, or not answered yet, which is not a refusal.
        Ok(Ok(Ok(Delivery { .. })) | Err(_)) | Err(_) => Ok(()),
    }
}

/// Reads at the ends of the partitions until the broker gives a sign of life, or refuses.
fn may_read(config: &Config, live: &Consumer, ends: &Offsets) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for (partition, end) in ends {
        list.add_partition_offset(&config.topic, *partition, Offset::Offset(*end))
            .expect("invariant: an offset of 0 or more");
    }
    let unusable = |error| failed(ErrorKind::Unavailable, "the topic can't be read", error);
    assign(live, &list).map_err(unusable)?;
    let until = Instant::now() + ANSWER;
    while Instant::now() < until {
        match live.poll(STEP) {
            None => {}
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => denied(config, error, "read")?,
        }
    }
    Ok(())
}

/// Returns an error of the configuration if the broker says that something is not allowed, with
/// what to do about it. Any other error is no refusal and is only logged.
fn denied(config: &Config, error: KafkaError, what: &str) -> Result<()> {
    let (topic, words) = (&config.topic, error.to_string());
    let message = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            format!(
                "the user may not {what} the topic {topic:?}: {words}; give it Read, Write and Describe on the topic"
            )
        }
        Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => format!(
            "the user may not publish idempotently: {words}; give it Write on the topic {topic:?} (before Kafka 2.8 \
             IdempotentWrite on the cluster)"
        ),
        _ => {
            tracing::debug!(%error, what, "trying the user's rights");
            return Ok(());
        }
    };
    Err(Error::new(ErrorKind::Config, NAME, message).with_source(error))
}
