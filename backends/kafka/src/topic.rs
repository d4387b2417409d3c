//! Finding, checking and creating the topic, and asking how far its log goes. All of it blocks; it
//! runs off the runtime.
//!
//! Every question has a limit, so that a silent broker holds up nobody. What follows from an answer
//! is decided by those who ask: `connection.rs` at the start, `watch.rs` later.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use hubplane_backplane::{Error, ErrorKind, Result};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    NAME,
    client::{Consumer, Offsets},
    config::Config,
    context::Trouble,
    failure::failed,
    identity,
    shared::Shared,
};

/// How long the broker may take to be found and to answer when an instance opens.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one question may take.
const ASK: Duration = Duration::from_secs(1);
/// The pause between two questions.
const STEP: Duration = Duration::from_millis(50);
/// The partitions of a topic, as its metadata has them; none if there is no such topic.
#[derive(Debug, Default)]
pub(crate) struct Found(pub(crate) Vec<FoundPartition>);

/// One partition of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundPartition {
    pub(crate) id: i32,
    /// The id of the broker that leads it; `None` if none does.
    pub(crate) leader: Option<i32>,
    /// How many replicas are in sync.
    pub(crate) in_sync: usize,
}

impl Found {
    /// How many partitions there are; 0 if there is no such topic.
    pub(crate) const fn count(&self) -> u32 {
        self.0.len() as u32
    }
}

/// Asks for the topic's metadata, for `wait` at most. A topic that does not exist is no error.
pub(crate) fn find(probe: &Consumer, topic: &str, wait: Duration) -> Result<Found, KafkaError> {
    let metadata = probe.fetch_metadata(Some(topic), wait)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let Some(found) = found else {
        return Ok(Found::default());
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {
            let parts = found.partitions().iter().map(|part| FoundPartition {
                id: part.id(),
                leader: Some(part.leader()).filter(|leader| *leader >= 0),
                in_sync: part.isr().len(),
            });
            Ok(Found(parts.collect()))
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(Found::default())
        }
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}

/// Returns the next offset of each of these partitions. With [`Offset::Beginning`] it returns the
/// first that is kept, and with a time in milliseconds the first that is not older. It asks each
/// leader once, and leaves out partitions without an answer.
pub(crate) fn offsets(
    probe: &Consumer,
    topic: &str,
    partitions: impl IntoIterator<Item = i32>,
    which: Offset,
    wait: Duration,
) -> Result<Offsets, KafkaError> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        // In this question the offset stands where a time would.
        asked.add_partition_offset(topic, partition, which)?;
    }
    let answer = probe.offsets_for_times(asked, wait)?;
    let parts = answer.elements();
    let known = parts.iter().filter(|part| part.error().is_ok());
    Ok(known
        .filter_map(|part| match part.offset() {
            Offset::Offset(offset) => Some((part.partition(), offset)),
            _ => None,
        })
        .collect())
}

/// Does the same for all partitions that have a leader, but asks each leader by itself, all at the
/// same time. A leader that does not answer leaves out its own partitions and no others.
pub(crate) fn offsets_by_leader(
    probe: &Consumer,
    topic: &str,
    found: &Found,
    which: Offset,
    wait: Duration,
) -> Offsets {
    let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for part in &found.0 {
        if let Some(leader) = part.leader {
            leaders.entry(leader).or_default().push(part.id);
        }
    }
    let ask = |(leader, led): (i32, Vec<i32>)| {
        offsets(probe, topic, led, which, wait).unwrap_or_else(|error| {
            tracing::debug!(leader, %error, "a leader does not tell its partitions' offsets");
            Offsets::new()
        })
    };
    thread::scope(|scope| {
        let asked: Vec<_> = leaders
            .into_iter()
            .map(|leader| scope.spawn(move || ask(leader)))
            .collect();
        let answers = asked.into_iter().filter_map(|it| it.join().ok());
        answers.flatten().collect()
    })
}

/// Waits for the broker, creates the topic if it is missing and `create` allows that, and returns
/// its number of partitions.
///
/// # Errors
/// `Config`: the broker refuses user or topic, or the topic is missing and may not be created.
/// `Unavailable`: no answer in time.
pub(crate) fn ready(config: &Config, probe: &Consumer, trouble: &Trouble) -> Result<u32> {
    let start = Instant::now();
    let mut created = false;
    loop {
        // Callbacks run inside of polls only.
        drop(probe.poll(STEP));
        if let Some(reason) = trouble.refused() {
            let message = format!(
                "{} refuses: {reason}; check user, password, sasl, tls and ca",
                config.brokers
            );
            return Err(Error::new(ErrorKind::Config, NAME, message));
        }
        match find(probe, &config.topic, ASK) {
            Ok(found) if found.count() > 0 => return Ok(found.count()),
            Ok(_) if !created => {
                create(config, probe)?;
                created = true;
            }
            Ok(_) => {}
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
            Err(_) => {}
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

/// Creates the topic as the address says. Another instance may do so at the same time: a topic that
/// exists already is fine.
fn create(config: &Config, probe: &Consumer) -> Result<()> {
    if !config.create {
        let message = format!(
            "there is no topic {:?}; create it, or leave create=false away",
            config.topic
        );
        return Err(Error::new(ErrorKind::Config, NAME, message));
    }
    let wrong = |error| not_created(config, probe, error);
    let admin: AdminClient<_> = config.client().create().map_err(wrong)?;
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(config.replication.unwrap_or(-1));
    let retention = config
        .retention
        .map(|retention| retention.as_millis().to_string());
    // The records get the broker's time. With the publishers' own, Kafka 4 refuses what is more
    // than an hour ahead of it, and what is far behind may be past its retention at once.
    let mut topic = NewTopic::new(&config.topic, partitions, replication)
        .set("cleanup.policy", "delete")
        .set("message.timestamp.type", "LogAppendTime");
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

/// Returns the error of a topic that was not created. A refusal is `Config`; a broker that does not
/// answer may do so later.
fn not_created(config: &Config, probe: &Consumer, error: KafkaError) -> Error {
    let topic = &config.topic;
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    if !code.is_some_and(may_answer_later) {
        let message = format!("the topic {topic:?} can't be created: {error}");
        return failed(ErrorKind::Config, message, error);
    }
    let message = format!(
        "the topic {topic:?} can't be created now: the broker does not answer at {}, the address that it advertises \
         (advertised.listeners); can this machine resolve and reach it?",
        advertised(probe)
    );
    failed(ErrorKind::Unavailable, message, error)
}

/// Returns true if the question did not reach a broker that could have decided it.
const fn may_answer_later(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::NotController
            | RDKafkaErrorCode::BrokerNotAvailable
    )
}

/// Returns the addresses that the brokers advertise, for an error message.
fn advertised(probe: &Consumer) -> String {
    let Ok(metadata) = probe.fetch_metadata(None, ASK) else {
        return "an unknown address".to_owned();
    };
    let brokers = metadata.brokers().iter();
    let all: Vec<_> = brokers
        .map(|it| format!("{}:{}", it.host(), it.port()))
        .collect();
    all.join(", ")
}

/// Returns the epoch of the topic's positions: the same for every instance, and another one for a
/// topic that was deleted and created again. A broker without topic ids (before 2.8) leaves only
/// the names of cluster and topic to make it of.
pub(crate) fn epoch(shared: &Shared, probe: &Consumer, partitions: u32) -> u64 {
    let until = Instant::now() + ASK;
    while shared.identity.id().is_none() && Instant::now() < until {
        // The id comes with the metadata, and is told inside of a poll.
        _ = find(probe, &shared.config.topic, ASK);
        drop(probe.poll(STEP));
    }
    let topic = &shared.config.topic;
    match shared.identity.id() {
        Some(id) => identity::epoch(&id, partitions),
        None => {
            tracing::warn!(
                topic,
                "the topic's id is unknown: one that is created again can't be told from the one before"
            );
            let cluster = probe.client().fetch_cluster_id(ASK).unwrap_or_default();
            identity::epoch(&format!("{cluster}/{topic}"), partitions)
        }
    }
}

/// Waits for one of librdkafka's admin calls. Its own threads make the progress, so blocking this
/// one holds up nothing.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_decision_of_the_broker_is_a_wrong_configuration() {
        let address = "kafka://127.0.0.1:1".parse().unwrap();
        let shared = Shared::new(Config::read(&address).unwrap());
        let probe = shared.probe().unwrap();
        let kind = |code| not_created(&shared.config, &probe, KafkaError::AdminOp(code)).kind();
        let away = RDKafkaErrorCode::OperationTimedOut;
        assert_eq!(kind(away), ErrorKind::Unavailable);
        let refused = RDKafkaErrorCode::TopicAuthorizationFailed;
        assert_eq!(kind(refused), ErrorKind::Config);
    }
}
