use std::time::Duration;

use hubplane_backplane::{Address, Result, Secret};
use rdkafka::ClientConfig;

use crate::NAME;

/// The longest that a batch may be collected.
const MOST_LINGER: Duration = Duration::from_millis(1);
/// How long a record may wait for its acknowledgement; below the contract's 5 s.
pub(crate) const MESSAGE_TIMEOUT: Duration = Duration::from_millis(4_500);

/// Settings that the promises of this backend rest on, and those that have keys of their own.
const OURS: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.idempotence",
    "group.id",
    "isolation.level",
    "linger.ms",
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

/// What an address says.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) create: bool,
    pub(crate) partitions: u32,
    pub(crate) replication: Option<i32>,
    pub(crate) retention: Option<Duration>,
    linger: Duration,
    /// Settings of every client: security, and what is passed through.
    client: Vec<(String, String)>,
}

/// Without the settings that may be secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Config {
    pub(crate) fn read(address: &Address) -> Result<Self> {
        let mut settings = address.settings(NAME);
        let topic = settings.text("topic")?.unwrap_or("hubplane").to_owned();
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
        if !tls && files.iter().any(|(_, file)| file.is_some()) {
            return wrong("ca, cert and key are of use with tls=true only".to_owned());
        }
        let mut client = security(address, sasl, tls, password.as_ref(), files)?;
        for (name, value) in &passed {
            if OURS.contains(name) {
                return wrong(format!(
                    "kafka.{name} can't be set: hubplane's promises rest on it, or it has a key"
                ));
            }
            client.push(((*name).to_owned(), value.clone()));
        }
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
            client,
        })
    }

    /// What all clients have in common.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "hubplane")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("socket.connection.setup.timeout.ms", "3000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("topic.metadata.propagation.max.ms", "5000");
        for (name, value) in &self.client {
            config.set(name, value);
        }
        config
    }

    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", self.linger.as_millis().to_string())
            .set(
                "message.timeout.ms",
                MESSAGE_TIMEOUT.as_millis().to_string(),
            )
            // What a broker takes by default; the payload's limit is below it.
            .set("message.max.bytes", "1048588")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "65536");
        config
    }

    /// For reading: no group is joined, but librdkafka's `assign` wants a name for one.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", "hubplane")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Anything else would jump over a hole in silence.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            .set("max.poll.interval.ms", "86400000")
            .set("allow.auto.create.topics", "false");
        config
    }
}

/// How clients prove who they are, and whom they trust.
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
            if let Err(error) = std::fs::metadata(file) {
                return wrong(format!("the file {file} for {name}: {error}"));
            }
            set(name, file);
        }
    }
    Ok(client)
}

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
        assert!(error("kafka://h?linger=5ms").contains("at most 1ms"));
        assert!(error("kafka://u:p@h").contains("need sasl"));
        assert!(error("kafka://h?sasl=plain").contains("needs a user"));
        assert!(error("kafka:").contains("host is missing"));
        assert!(error("kafka://h?tpoic=x").contains("tpoic"));
    }

    #[test]
    fn the_rest_is_passed_through_and_secrets_are_not_shown() {
        let text = "kafka://app:hunter2@a,b:1?sasl=scram-sha-256&kafka.client.rack=r1";
        let config = Config::read(&text.parse().unwrap()).unwrap();
        assert_eq!(config.client().get("client.rack"), Some("r1"));
        assert_eq!(config.client().get("bootstrap.servers"), Some("a:9092,b:1"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
