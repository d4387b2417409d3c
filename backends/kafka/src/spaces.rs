//! What it takes to try this backend on a user's Kafka (the conformance suite). A space is a topic
//! whose name begins with that of the address, so that a right by prefix covers it. A hub never
//! uses anything of this file.

use std::time::Duration;

use async_trait::async_trait;
use hubplane_backplane::{Address, Error, ErrorKind, Leaving, Result, Spaces};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord},
};

use crate::{
    KafkaDriver, NAME,
    config::{Config, TOPIC},
    failure::failed,
};

/// How long one request to the broker may take.
const ASK: Duration = Duration::from_secs(5);

/// Returns options that give the client and the broker the same limit.
fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ASK))
        .operation_timeout(Some(ASK))
}

/// Returns a client that manages topics. The error is `Config` if librdkafka refuses a setting.
fn admin(config: &ClientConfig) -> Result<AdminClient<DefaultClientContext>> {
    let made = config.create();
    made.map_err(|error| failed(ErrorKind::Config, "the client can't be made", error))
}

/// Returns the error of a request about a topic. A missing right is `Config`, since trying again is no use.
fn refused(doing: &str, topic: &str, error: KafkaError) -> Error {
    let kind = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    failed(
        kind,
        format!("{doing} the topic {topic:?} is refused"),
        error,
    )
}

#[async_trait]
impl Spaces for KafkaDriver {
    /// Returns an address with the topic `TOPIC-NAME`. It is created when it is opened, unless the
    /// address says `create=false`.
    fn within(&self, address: &Address, name: &str) -> Address {
        let topic = address.settings(NAME).text("topic").ok().flatten();
        let topic = topic.unwrap_or(TOPIC);
        address.clone().with("topic", format!("{topic}-{name}"))
    }

    /// Returns what stays on the broker, with the command that removes it: the topic.
    fn leaves(&self, address: &Address) -> Vec<Leaving> {
        let Ok(Config { topic, brokers, .. }) = Config::read(address) else {
            return Vec::new();
        };
        vec![Leaving {
            what: format!("the topic {topic}"),
            removal: format!(
                "kafka-topics.sh --bootstrap-server {brokers} --delete --topic {topic}"
            ),
        }]
    }

    /// Deletes the topic. The broker does so a moment later than it answers.
    async fn remove(&self, address: &Address) -> Result<()> {
        let config = Config::read(address)?;
        let topic = config.topic.as_str();
        let admin = admin(&config.client())?;
        let done = admin.delete_topics(&[topic], &options()).await;
        let done = done.map_err(|error| refused("deleting", topic, error))?;
        match done.into_iter().next() {
            None | Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => {
                Ok(())
            }
            Some(Err((_, code))) => Err(refused("deleting", topic, KafkaError::AdminOp(code))),
        }
    }

    /// Publishes as a program of a team's own would: with a key, and nothing that hubplane adds.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        let config = Config::read(address)?;
        let mut client = config.client();
        // Chooses the partition as Java's clients do; librdkafka's default is CRC32.
        client.set("partitioner", "murmur2_random");
        let producer: FutureProducer = client
            .create()
            .map_err(|error| failed(ErrorKind::Config, "the client can't be made", error))?;
        let record = FutureRecord::to(&config.topic).key(channel).payload(data);
        match producer.send(record, ASK).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(refused("publishing to", &config.topic, error)),
        }
    }

    /// Deletes all records up to the end of each partition; needs the right to delete records.
    async fn trim(&self, address: &Address) -> Result<()> {
        let config = Config::read(address)?;
        let topic = config.topic.clone();
        let client = config.client();
        // librdkafka blocks its thread for these requests, so they have one of their own.
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create()?;
            let metadata = consumer.fetch_metadata(Some(&topic), ASK)?;
            let mut upto = TopicPartitionList::new();
            for part in metadata
                .topics()
                .iter()
                .flat_map(|found| found.partitions())
            {
                upto.add_partition_offset(&topic, part.id(), Offset::End)?;
            }
            Ok(upto)
        });
        let topic = config.topic.as_str();
        let wrong = |error| refused("cutting", topic, error);
        let upto = asked.await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, NAME, "the question was dropped").with_source(error)
        })?;
        let upto = upto.map_err(wrong)?;
        let admin = admin(&config.client())?;
        let done = admin.delete_records(&upto, &options()).await;
        let done = done.map_err(wrong)?;
        let parts = done.elements();
        parts
            .iter()
            .try_for_each(|part| part.error())
            .map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_a_topic_behind_the_own_one() {
        let within = |text: &str| {
            let address = KafkaDriver.within(&text.parse().unwrap(), "c1");
            let leaves = KafkaDriver.leaves(&address).remove(0);
            (Config::read(&address).unwrap(), leaves)
        };
        let (config, leaves) = within("kafka://h?partitions=3");
        assert_eq!((&*config.topic, config.partitions), ("hubplane-c1", 3));
        assert!(
            leaves
                .removal
                .contains("h:9092 --delete --topic hubplane-c1")
        );
        assert_eq!(within("kafka://h?topic=news").0.topic, "news-c1");
    }
}
