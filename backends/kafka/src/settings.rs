//! The topic's settings that this backend's promises depend on: read when an instance opens, each minute, and when the
//! broker is back, since an operator may change them at any time. All of it blocks; it runs off the runtime.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use hubplane_backplane::{Error, ErrorKind, Result};
use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    config::ClientConfig,
    error::KafkaError,
};
use tokio::runtime::Handle;

use crate::{CAPABILITIES, NAME, config::Config, topic::Found};

/// How long the broker may take to tell them. The watching thread waits for it, too, and must see soon that a broker is
/// away.
const ANSWER: Duration = Duration::from_secs(1);
/// Time between two readings while nothing else happens.
const EVERY: Duration = Duration::from_secs(60);
/// Bytes that a record may need besides its payload: key, headers and framing.
const HEADROOM: usize = 16 * 1024;

/// The settings of the topic, as the broker says them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// `cleanup.policy` has `compact`: Kafka drops all but the last message of a channel.
    pub(crate) compacted: bool,
    /// `min.insync.replicas`: with fewer replicas in sync, the broker takes nothing.
    pub(crate) min_in_sync: usize,
    /// `max.message.bytes`: the largest batch that the topic takes.
    max_message_bytes: Option<usize>,
    /// `retention.ms`; -1 means for ever.
    retention: Option<i64>,
}

/// Asks the broker for the settings.
pub(crate) struct SettingsReader {
    topic: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: Handle,
}

impl SettingsReader {
    /// Returns a reader. It must be made within a runtime, and may be used on any thread that isn't
    /// the runtime's.
    pub(crate) fn new(config: &Config) -> Result<Self, KafkaError> {
        let client: ClientConfig = config.client();
        Ok(Self {
            topic: config.topic.clone(),
            admin: client.create()?,
            runtime: Handle::current(),
        })
    }

    /// Reads the settings. Returns `None` if the broker doesn't tell them: a user without the right
    /// to ask may still publish and read.
    pub(crate) fn read(&self) -> Option<TopicSettings> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let asked = [ResourceSpecifier::Topic(&self.topic)];
        let answer = self.admin.describe_configs(&asked, &options).boxed();
        let told = self.runtime.block_on(answer).ok()?.pop()?.ok()?;
        let value = |name: &str| told.get(name).and_then(|entry| entry.value.as_deref());
        Some(TopicSettings {
            compacted: value("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
            min_in_sync: number(value("min.insync.replicas")).unwrap_or(1),
            max_message_bytes: number(value("max.message.bytes")),
            retention: number(value("retention.ms")),
        })
    }
}

/// Reads the settings again each minute, and keeps what was read last.
pub(crate) struct SettingsWatch {
    reader: SettingsReader,
    last: Option<TopicSettings>,
    due: Instant,
}

impl SettingsWatch {
    /// `last` was read just now.
    pub(crate) fn new(reader: SettingsReader, last: Option<TopicSettings>) -> Self {
        Self {
            reader,
            last,
            due: Instant::now() + EVERY,
        }
    }

    /// Makes the next look read them.
    pub(crate) fn expire(&mut self) {
        self.due = Instant::now();
    }

    /// Returns the settings as they were read last, after reading them again if that is due. A
    /// change goes to the log.
    pub(crate) fn look(&mut self) -> Option<&TopicSettings> {
        if Instant::now() >= self.due {
            if let Some(read) = self.reader.read() {
                if let Some(last) = &self.last {
                    read.log_changes(last, &self.reader.topic);
                }
                self.last = Some(read);
            }
            self.due = Instant::now() + EVERY;
        }
        self.last.as_ref()
    }
}

/// Reads a number; `None` if there is none.
fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

/// Returns an error if the topic's settings can't keep this backend's promises, and warns of those
/// that may be intended.
pub(crate) fn check(topic: &str, settings: Option<&TopicSettings>) -> Result<()> {
    let Some(settings) = settings else {
        tracing::warn!(
            topic,
            "the topic's settings can't be read; see that it is not compacted"
        );
        return Ok(());
    };
    if settings.compacted {
        let message = format!(
            "the topic {topic:?} is compacted, so Kafka would drop messages of a channel; set cleanup.policy=delete"
        );
        return Err(Error::new(ErrorKind::Config, NAME, message));
    }
    settings.warn_of_size(topic);
    Ok(())
}

impl TopicSettings {
    /// Returns the partitions with fewer replicas in sync than the topic demands, each with words
    /// for it. The broker takes nothing for them (before Kafka 4 also where there are not so many
    /// replicas at all), and librdkafka says only that no answer came in time.
    pub(crate) fn short(&self, found: &Found) -> BTreeMap<i32, String> {
        let wanted = self.min_in_sync;
        let short = found.0.iter().filter(|part| part.in_sync < wanted);
        short
            .map(|part| {
                let (id, in_sync) = (part.id, part.in_sync);
                let reason = format!(
                    "partition {id} has {in_sync} replicas in sync, and min.insync.replicas is {wanted}"
                );
                (id, reason)
            })
            .collect()
    }

    /// Warns if the topic takes smaller messages than this backend promises.
    fn warn_of_size(&self, topic: &str) {
        let needed = CAPABILITIES.max_payload + HEADROOM;
        if let Some(most) = self.max_message_bytes.filter(|most| *most < needed) {
            tracing::warn!(
                topic,
                most,
                "max.message.bytes is low; larger messages will be rejected"
            );
        }
    }

    /// Logs what has changed while the instance ran.
    pub(crate) fn log_changes(&self, before: &Self, topic: &str) {
        match (before.compacted, self.compacted) {
            (false, true) => tracing::error!(
                topic,
                "the topic is compacted now, so Kafka drops messages: nothing can be recovered from it until \
                 cleanup.policy=delete is set again"
            ),
            (true, false) => tracing::info!(topic, "the topic is not compacted any more"),
            _ => {}
        }
        if self.retention != before.retention {
            let retention_ms = self.retention;
            tracing::warn!(topic, retention_ms, "the topic's retention was changed");
        }
        if self.min_in_sync != before.min_in_sync {
            let min_insync_replicas = self.min_in_sync;
            tracing::warn!(
                topic,
                min_insync_replicas,
                "min.insync.replicas was changed"
            );
        }
        if self.max_message_bytes != before.max_message_bytes {
            self.warn_of_size(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::FoundPartition;

    #[test]
    fn partitions_with_too_few_replicas_in_sync_are_named() {
        let part = |id, in_sync| FoundPartition {
            id,
            leader: Some(1),
            in_sync,
        };
        let settings = TopicSettings {
            min_in_sync: 2,
            ..TopicSettings::default()
        };
        let short = settings.short(&Found(vec![part(0, 3), part(1, 1), part(2, 2)]));
        assert_eq!(short.keys().copied().collect::<Vec<_>>(), [1]);
        assert!(short[&1].contains("has 1 replicas in sync, and min.insync.replicas is 2"));
    }

    #[test]
    fn a_compacted_topic_is_refused_and_an_unknown_one_is_not() {
        let plain = TopicSettings::default();
        let compacted = TopicSettings {
            compacted: true,
            ..plain.clone()
        };
        check("t", None).unwrap();
        check("t", Some(&plain)).unwrap();
        let error = check("t", Some(&compacted)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("cleanup.policy=delete"));
    }
}
