//! Three Kafka nodes: who leads, how leadership moves, and the plain client.

use std::{path::Path, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::Message as _,
    producer::{BaseProducer, BaseRecord},
};
use serde_json::json;
use tokio::task::{JoinSet, spawn_blocking};

use super::notes::{EVERY, Notes};
use crate::Result;

/// For a list of partitions, also while a node is dead.
const SOON: Duration = Duration::from_secs(5);

/// A partition's nodes, the leader's number and those that are in sync.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) leader: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) in_sync: usize,
}

/// librdkafka's defaults but for what a dead node costs: it is given up after 6 s, as in the hub, and asked again soon.
fn client(authority: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", authority)
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("reconnect.backoff.max.ms", "500");
    config
}

/// The partitions of a topic, in their order. An error also says that a topic has none yet.
pub(super) async fn partitions(authority: &str, topic: &str) -> Result<Vec<Partition>> {
    let (config, topic) = (client(authority), topic.to_owned());
    // librdkafka blocks, so it has a thread of its own.
    spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), SOON)?;
        let found = metadata.topics().first().ok_or("no such topic")?;
        let mut all: Vec<_> = found.partitions().iter().collect();
        all.sort_by_key(|partition| partition.id());
        let all: Vec<_> = all
            .into_iter()
            .map(|partition| Partition {
                leader: partition.leader(),
                replicas: partition.replicas().to_vec(),
                in_sync: partition.isr().len(),
            })
            .collect();
        if all.is_empty() {
            return Err(format!("{topic} has no partitions").into());
        }
        Ok(all)
    })
    .await?
}

/// Writes down who is to lead: in each partition of the hubs' topic and of the plain client's, the node after the leader.
pub(super) async fn plan(authority: &str, topic: &str, file: &Path) -> Result<()> {
    let mut all = Vec::new();
    for topic in [topic.to_owned(), own(topic)] {
        for (number, partition) in partitions(authority, &topic).await?.iter().enumerate() {
            let mut replicas = partition.replicas.clone();
            let at = replicas.iter().position(|node| *node == partition.leader);
            // The preferred leader is the first of the replicas.
            replicas.rotate_left(at.ok_or("no leader")? + 1);
            all.push(json!({ "topic": topic, "partition": number, "replicas": replicas }));
        }
    }
    let plan = json!({ "version": 1, "partitions": all });
    Ok(std::fs::write(file, plan.to_string())?)
}

/// The plain client's topic beside the hubs'.
fn own(topic: &str) -> String {
    format!("{topic}-plain")
}

/// A producer and a consumer of a topic with as many partitions as the hubs' and the same leaders: the hubs' pause is that of
/// their worst partition, so it must be compared with the worst one here.
pub(super) async fn probe(
    authority: &str,
    hubs: &str,
    notes: &Notes,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let mut wanted = Vec::new();
    for partition in partitions(authority, hubs).await? {
        let mut replicas = partition.replicas;
        // The leader first: the topic's leaders are then those of the hubs' topic.
        replicas.sort_by_key(|node| *node != partition.leader);
        wanted.push(replicas);
    }
    let count = i32::try_from(wanted.len())?;
    let topic = own(hubs);
    let admin: AdminClient<DefaultClientContext> = client(authority).create()?;
    let nodes: Vec<&[i32]> = wanted.iter().map(Vec::as_slice).collect();
    let made = NewTopic::new(&topic, count, TopicReplication::Variable(&nodes));
    for result in admin.create_topics([&made], &AdminOptions::new()).await? {
        result.map_err(|(topic, error)| format!("{topic}: {error}"))?;
    }
    // Without a group's protocol: partitions are assigned by hand.
    let consumer: BaseConsumer = client(authority).set("group.id", "plain").create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..count {
        list.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    // Idempotent, so that a retry is not taken for another message.
    let producer: BaseProducer = client(authority)
        .set("enable.idempotence", "true")
        // Shorter than 5 s, in which the hub gives up.
        .set("message.timeout.ms", "4500")
        .create()?;
    let reading = notes.clone();
    tasks.spawn_blocking(move || {
        while !reading.is_ended() {
            // An error is the pause that is measured: librdkafka goes on by itself.
            if let Some(Ok(message)) = consumer.poll(EVERY) {
                reading.arrived(usize::try_from(message.partition())?);
            }
        }
        Ok(())
    });
    let writing = notes.clone();
    tasks.spawn_blocking(move || {
        while !writing.is_ended() {
            // What the cluster does not take within 4.5 s is dropped, so at most 90 of a partition wait.
            for partition in 0..count {
                let record = BaseRecord::<(), _>::to(&topic).partition(partition);
                _ = producer.send(record.payload("x"));
            }
            producer.poll(Duration::ZERO);
            std::thread::sleep(EVERY);
        }
        Ok(())
    });
    Ok(())
}
