//! What an address says, and which settings each of librdkafka's clients gets from it. The crate's
//! documentation lists the keys of an address; librdkafka's are in its
//! [CONFIGURATION.md](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md).
//!
//! What must hold: no setting of an address can break a promise of this backend, each error names
//! the key and what to do, and no secret is shown. All settings are in this file.

use std::time::Duration;

use hubplane_backplane::{Address, Result, Secret};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use crate::{NAME, identity};

/// The topic of an address that names none.
pub(crate) const TOPIC: &str = "hubplane";
/// The longest time for which the producer may collect a batch, and the default.
const MOST_LINGER: Duration = Duration::from_millis(1);
/// The shortest retention of a topic that is created.
const LEAST_RETENTION: Duration = Duration::from_secs(1);
/// How long a record may wait for its acknowledgement (`message.timeout.ms`); below the contract's
/// 5 s.
pub(crate) const MESSAGE_TIMEOUT: Duration = Duration::from_millis(4_500);

/// Settings that an address can't pass through: this backend's promises rest on them, or they have
/// keys of their own.
const OURS: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "linger.ms",
    "log.queue",
    "log_level",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "queue.buffering.max.ms",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "transactional.id",
];

/// What an address says, checked.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) create: bool,
    pub(crate) partitions: u32,
    pub(crate) replication: Option<i32>,
    pub(crate) retention: Option<Duration>,
    linger: Duration,
    /// How every client proves who it is, and whom it trusts.
    security: Vec<(String, String)>,
    /// The settings of `kafka.*`, which go to librdkafka as they are.
    passed: Vec<(String, String)>,
}

/// Leaves out the settings that may be secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads an address.
    ///
    /// # Errors
    /// `Config`: a key is unknown, a value makes no sense, or the file of a certificate can't be
    /// found.
    pub(crate) fn read(address: &Address) -> Result<Self> {
        let mut settings = address.settings(NAME);
        let topic = settings.text("topic")?.unwrap_or(TOPIC).to_owned();
        let create = settings.flag("create")?.unwrap_or(true);
        let partitions = settings.parsed("partitions")?.unwrap_or(8);
        let replication = settings.parsed("replication")?;
        let retention = settings.duration("retention")?;
        let linger = settings.duration("linger")?.unwrap_or(MOST_LINGER);
        let sasl = settings.text("sasl")?;
        let tls = settings.flag("tls")?.unwrap_or_default();
        let files = [
            ("ssl.ca.location", settings.text("ca")?),
            ("ssl.certificate.location", settings.text("cert")?),
            ("ssl.key.location", settings.text("key")?),
        ];
        let password = settings.password()?;
        let passed = settings.with_prefix("kafka.")?;

        let wrong = |message: String| Err(address.settings(NAME).wrong(message));
        if address.hosts().is_empty() {
            return wrong("a host is missing: kafka://host:9092".to_owned());
        }
        if !address.path().is_empty() {
            return wrong(
                "there is no path in a kafka: address; the topic is the key \"topic\"".to_owned(),
            );
        }
        if linger > MOST_LINGER {
            return wrong("linger is at most 1ms; more only adds latency".to_owned());
        }
        if !(1..=10_000).contains(&partitions) {
            return wrong("partitions is a number from 1 to 10000".to_owned());
        }
        if retention.is_some_and(|time| time < LEAST_RETENTION) {
            return wrong(
                "retention is 1s or more: a topic that keeps nothing delivers nothing".to_owned(),
            );
        }
        if !tls && files.iter().any(|(_, file)| file.is_some()) {
            return wrong("ca, cert and key are of use with tls=true only".to_owned());
        }
        let security = security(address, sasl, tls, password.as_ref(), files)?;
        if let Some((name, _)) = passed.iter().find(|(name, _)| OURS.contains(name)) {
            return wrong(format!(
                "kafka.{name} can't be set: hubplane's promises rest on it, or it has a key"
            ));
        }
        let passed = passed
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        settings.finish()?;
        let brokers: Vec<_> = address
            .hosts()
            .iter()
            .map(|host| host.with_port(9092))
            .collect();
        let brokers = brokers.join(",");
        Ok(Self {
            brokers,
            topic,
            create,
            partitions,
            replication,
            retention,
            linger,
            security,
            passed,
        })
    }

    /// Returns the settings of a client that only asks or manages topics.
    pub(crate) fn client(&self) -> ClientConfig {
        self.with(&[])
    }

    /// Returns the settings of the producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        self.with(&[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("linger.ms", &self.linger.as_millis().to_string()),
            (
                "message.timeout.ms",
                &MESSAGE_TIMEOUT.as_millis().to_string(),
            ),
            // What a broker takes by default; the payload's limit is below it.
            ("message.max.bytes", "1048588"),
            ("queue.buffering.max.messages", "200000"),
            ("queue.buffering.max.kbytes", "65536"),
        ])
    }

    /// Returns the settings of a consumer that reads. No group is joined, but librdkafka's `assign`
    /// wants a name for one.
    pub(crate) fn consumer(&self) -> ClientConfig {
        self.with(&[
            ("group.id", "hubplane"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // Anything else would jump over a hole in silence.
            ("auto.offset.reset", "error"),
            // Reaching the end shows that a consumer reads, also where nothing is published.
            ("enable.partition.eof", "true"),
            // A batch that is not what the broker was given is told, not delivered.
            ("check.crcs", "true"),
            // What a transaction took back, or may still take back, was never published. It is also how the questions for
            // the log's end are asked, which must agree with what is read.
            ("isolation.level", "read_committed"),
            ("fetch.min.bytes", "1"),
            ("fetch.wait.max.ms", "500"),
            // By default a full prefetch queue would cost a second.
            ("fetch.queue.backoff.ms", "20"),
            ("fetch.error.backoff.ms", "100"),
            ("queued.min.messages", "10000"),
            // By default librdkafka may keep 64 MB for each partition.
            ("queued.max.messages.kbytes", "16384"),
            ("max.poll.interval.ms", "86400000"),
            ("allow.auto.create.topics", "false"),
        ])
    }

    /// Returns the settings of a consumer that reads back, and is given a new place for each read.
    /// What it has asked the broker for before must be answered first, so nothing may be waited
    /// for: a new place took 502 ms with the default of 500 ms, 5.8 with 5.
    pub(crate) fn replay(&self) -> ClientConfig {
        let mut config = self.consumer();
        config.set("fetch.wait.max.ms", "5");
        config
    }

    /// Returns the settings of the consumer that watches. It reads nothing, but its debug log is
    /// read for the topic's id.
    pub(crate) fn probe(&self) -> ClientConfig {
        let mut config = self.consumer();
        let debug = match config.get("debug") {
            Some(more) => format!("{more},{}", identity::DEBUG),
            None => identity::DEBUG.to_owned(),
        };
        config.set("debug", debug);
        config.set_log_level(RDKafkaLogLevel::Debug);
        config
    }

    /// Returns what all clients have in common, with what one needs (`own`), and above both what
    /// was passed through.
    fn with(&self, own: &[(&str, &str)]) -> ClientConfig {
        let common = [
            ("bootstrap.servers", self.brokers.as_str()),
            ("client.id", "hubplane"),
            // How long an unacknowledged write may wait (TCP_USER_TIMEOUT) can't be set through librdkafka.
            ("socket.keepalive.enable", "true"),
            ("socket.nagle.disable", "true"),
            ("socket.connection.setup.timeout.ms", "3000"),
            // This finds a connection that swallows everything, after 6 s instead of a minute.
            ("socket.timeout.ms", "6000"),
            // Each of an instance's clients keeps several connections. If the first tries were
            // closer together, a broker that comes and goes would be asked twenty times a second.
            ("reconnect.backoff.ms", "400"),
            ("reconnect.backoff.max.ms", "1000"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("topic.metadata.propagation.max.ms", "5000"),
        ];
        let mut config = ClientConfig::new();
        for (name, value) in common.iter().chain(own) {
            config.set(*name, *value);
        }
        for (name, value) in self.security.iter().chain(&self.passed) {
            config.set(name, value);
        }
        config
    }
}

/// Returns the settings by which clients prove who they are, and which say whom they trust.
fn security(
    address: &Address,
    sasl: Option<&str>,
    tls: bool,
    password: Option<&Secret>,
    files: [(&str, Option<&str>); 3],
) -> Result<Vec<(String, String)>> {
    let wrong = |message: String| Err(address.settings(NAME).wrong(message));
    let mut client = Vec::new();
    let mut set = |name: &str, value: &str| client.push((name.to_owned(), value.to_owned()));
    set("security.protocol", protocol(sasl.is_some(), tls));
    if let Some(mechanism) = sasl {
        if !["plain", "scram-sha-256", "scram-sha-512"].contains(&mechanism) {
            return wrong(format!(
                "{mechanism:?}: sasl is plain, scram-sha-256 or scram-sha-512"
            ));
        }
        let (Some(user), Some(password)) = (address.username(), password) else {
            return wrong(
                "sasl needs a user and a password: kafka://user:password@host".to_owned(),
            );
        };
        set("sasl.mechanism", &mechanism.to_uppercase());
        set("sasl.username", user);
        set("sasl.password", password.reveal());
    } else if address.username().is_some() || password.is_some() {
        return wrong(
            "a user and password need sasl=plain, scram-sha-256 or scram-sha-512".to_owned(),
        );
    }
    for (name, file) in files {
        if let Some(file) = file {
            // librdkafka would say only that it can't use the file; this names the key of the
            // address.
            if let Err(error) = std::fs::metadata(file) {
                return wrong(format!("the file {file} for {name}: {error}"));
            }
            set(name, file);
        }
    }
    Ok(client)
}

/// Returns librdkafka's name for the protocol of a connection.
const fn protocol(sasl: bool, tls: bool) -> &'static str {
    match (sasl, tls) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(address: &str) -> String {
        Config::read(&address.parse().unwrap())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_would_break_a_promise_is_refused() {
        assert!(error("kafka://h?kafka.acks=1").contains("kafka.acks can't be set"));
        let uncommitted = "kafka://h?kafka.isolation.level=read_uncommitted";
        assert!(error(uncommitted).contains("isolation.level can't be set"));
        assert!(error("kafka://h?linger=5ms").contains("at most 1ms"));
        assert!(error("kafka://h?retention=0s").contains("1s or more"));
        assert!(error("kafka://u:p@h").contains("need sasl"));
        assert!(error("kafka://h?sasl=plain").contains("needs a user"));
        assert!(error("kafka:").contains("host is missing"));
        assert!(error("kafka://h?tpoic=x").contains("tpoic"));
    }

    #[test]
    fn the_rest_is_passed_through_and_secrets_are_not_shown() {
        let text = "kafka://app:hunter2@a,b:1?sasl=scram-sha-256&kafka.client.rack=r1\
                    &kafka.fetch.wait.max.ms=10&kafka.debug=cgrp";
        let config = Config::read(&text.parse().unwrap()).unwrap();
        assert_eq!(config.consumer().get("fetch.wait.max.ms"), Some("10"));
        assert_eq!(config.replay().get("fetch.wait.max.ms"), Some("5"));
        assert_eq!(config.client().get("socket.keepalive.enable"), Some("true"));
        assert_eq!(config.probe().get("debug"), Some("cgrp,topic"));
        assert_eq!(config.client().get("client.rack"), Some("r1"));
        assert_eq!(config.client().get("bootstrap.servers"), Some("a:9092,b:1"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
