//! Finding, checking and creating the topic. All of it blocks; it runs off the runtime.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    thread,
    time::{Duration, Instant},
};

use hubplane_backplane::{Error, ErrorKind, Result};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    CAPABILITIES, NAME,
    config::Config,
    context::{Context, Trouble},
};

/// How long the broker may take to be found and to answer at `open`.
const PATIENCE: Duration = Duration::from_secs(8);
/// One question.
const ASK: Duration = Duration::from_secs(1);
/// What a record may need besides its payload.
const HEADROOM: usize = 16 * 1024;

pub(crate) type Probe = BaseConsumer<Context>;

/// An error with librdkafka's words.
pub(crate) fn failed(kind: ErrorKind, message: impl Into<String>, source: KafkaError) -> Error {
    Error::new(kind, NAME, message).with_source(source)
}

/// The number of partitions; 0 where there is no such topic.
pub(crate) fn partitions(probe: &Probe, topic: &str, wait: Duration) -> Result<u32, KafkaError> {
    let metadata = probe.fetch_metadata(Some(topic), wait)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let Some(found) = found else { return Ok(0) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(found.partitions().len() as u32),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(0),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}

/// Waits for the broker, creates the topic where that is wanted, and tells its number of partitions.
pub(crate) fn ready(config: &Config, probe: &Probe, trouble: &Trouble) -> Result<u32> {
    let start = Instant::now();
    let mut created = false;
    loop {
        // Callbacks run inside of polls only.
        drop(probe.poll(Duration::ZERO));
        if let Some(reason) = trouble.refused() {
            let message = format!(
                "{} refuses: {reason}; check user, password, sasl, tls and ca",
                config.brokers
            );
            return Err(Error::new(ErrorKind::Config, NAME, message));
        }
        match partitions(probe, &config.topic, ASK) {
            Ok(0) if !created => {
                create(config)?;
                created = true;
            }
            Ok(0) => thread::sleep(Duration::from_millis(50)),
            Ok(count) => return Ok(count),
            Err(error) if start.elapsed() > PATIENCE => {
                let message = format!("no answer from {}; is Kafka running there?", config.brokers);
                return Err(failed(ErrorKind::Unavailable, message, error));
            }
            Err(KafkaError::MetadataFetch(
                code
                @ (RDKafkaErrorCode::InvalidTopic | RDKafkaErrorCode::TopicAuthorizationFailed),
            )) => {
                let message = format!(
                    "the topic {:?} can't be used: name or rights are wrong",
                    config.topic
                );
                return Err(failed(
                    ErrorKind::Config,
                    message,
                    KafkaError::MetadataFetch(code),
                ));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
        if start.elapsed() > PATIENCE {
            let message = format!(
                "the topic {:?} was created but has no partitions yet",
                config.topic
            );
            return Err(Error::new(ErrorKind::Unavailable, NAME, message));
        }
    }
}

fn create(config: &Config) -> Result<()> {
    if !config.create {
        let message = format!(
            "there is no topic {:?}; create it, or leave create=false away",
            config.topic
        );
        return Err(Error::new(ErrorKind::Config, NAME, message));
    }
    let wrong = |error| {
        failed(
            ErrorKind::Config,
            format!("the topic {:?} can't be created", config.topic),
            error,
        )
    };
    let admin: AdminClient<_> = config.client().create().map_err(wrong)?;
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(config.replication.unwrap_or(-1));
    let retention = config
        .retention
        .map(|retention| retention.as_millis().to_string());
    let mut topic =
        NewTopic::new(&config.topic, partitions, replication).set("cleanup.policy", "delete");
    if let Some(retention) = &retention {
        topic = topic.set("retention.ms", retention);
    }
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
    let done = futures_util::FutureExt::boxed(admin.create_topics([&topic], &options));
    match block_on(done).map_err(wrong)?.pop() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(wrong(KafkaError::AdminOp(code)))
        }
        _ => {
            tracing::info!(topic = config.topic, partitions, "created the topic");
            Ok(())
        }
    }
}

/// Refuses a topic whose settings can't keep this backend's promises.
pub(crate) fn check(config: &Config) -> Result<()> {
    let wrong = |error| {
        failed(
            ErrorKind::Config,
            "the topic's settings can't be asked for",
            error,
        )
    };
    let admin: AdminClient<_> = config.client().create().map_err(wrong)?;
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(3)));
    let asked = [ResourceSpecifier::Topic(&config.topic)];
    let settings = match block_on(futures_util::FutureExt::boxed(
        admin.describe_configs(&asked, &options),
    )) {
        Ok(mut answers) => answers.pop(),
        Err(_) => None,
    };
    let Some(Ok(settings)) = settings else {
        // A user without the right to ask may still publish and read.
        tracing::warn!(
            topic = config.topic,
            "the topic's settings can't be read; see that it is not compacted"
        );
        return Ok(());
    };
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref());
    if value("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        let message = format!(
            "the topic {:?} is compacted, so Kafka would drop messages of a channel; set cleanup.policy=delete",
            config.topic
        );
        return Err(Error::new(ErrorKind::Config, NAME, message));
    }
    let most = value("max.message.bytes").and_then(|bytes| bytes.parse::<usize>().ok());
    if let Some(most) = most.filter(|most| *most < CAPABILITIES.max_payload + HEADROOM) {
        tracing::warn!(
            topic = config.topic,
            most,
            "max.message.bytes is low; larger messages will be rejected"
        );
    }
    Ok(())
}

/// The epoch of a topic's positions: the same for every instance.
pub(crate) fn epoch(cluster: Option<&str>, topic: &str, partitions: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (cluster, topic, partitions).hash(&mut hasher);
    hasher.finish()
}

/// Runs librdkafka's admin calls, whose own threads make the progress.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}
