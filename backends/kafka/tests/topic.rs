//! What Kafka alone can do to its readers, on a real broker.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Backplane, Driver, ErrorKind, Event, Events, GapCause, Outgoing, Scope};
use hubplane_conformance::required;
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use tokio::time::timeout;

fn brokers() -> String {
    required("HUBPLANE_TEST_KAFKA")
        .trim_start_matches("kafka://")
        .to_owned()
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .create()
        .unwrap()
}

fn topic(name: &str) -> String {
    let unique = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros();
    format!("hp-{name}-{unique}")
}

async fn open(address: &str) -> (Arc<dyn Backplane>, Events) {
    let opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
    (opened.backplane, opened.events)
}

/// Waits for the data of the next publication, or the cause of a gap before it.
async fn next(events: &mut Events) -> Result<Vec<u8>, GapCause> {
    let next = async {
        loop {
            match events.recv().await.expect("open") {
                Event::Published(mut all) => return Ok(all.remove(0).data.to_vec()),
                Event::Gap { cause, .. } => return Err(cause),
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(40), next)
        .await
        .expect("an event in time")
}

async fn publish(backplane: &Arc<dyn Backplane>, data: &'static str) {
    for _ in 0..50 {
        match backplane
            .publish(vec![Outgoing::new("c", data)])
            .await
            .remove(0)
        {
            Ok(_) => return,
            Err(error) => assert!(error.kind().is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("not published");
}

#[tokio::test(flavor = "multi_thread")]
async fn sasl_and_tls_addresses_work() {
    for variable in ["HUBPLANE_TEST_KAFKA_SASL", "HUBPLANE_TEST_KAFKA_TLS"] {
        let address = format!("{}&topic={}", required(variable), topic("auth"));
        let (a, _keep) = open(&address).await;
        let (b, mut events) = open(&address).await;
        publish(&a, "x").await;
        assert_eq!(next(&mut events).await.unwrap(), b"x");
        a.close().await;
        b.close().await;
    }
}

/// librdkafka ends the process if partitions are removed while they still stop.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_can_be_closed_as_soon_as_it_is_open() {
    let address = format!("kafka://{}?topic={}", brokers(), topic("brief"));
    open(&address).await.0.close().await;
    let each = (0..40).map(|_| async { open(&address).await.0.close().await });
    futures_util::future::join_all(each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_refused() {
    let name = topic("compact");
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    admin()
        .create_topics([&new], &AdminOptions::new())
        .await
        .unwrap();
    let address = format!("kafka://{}?topic={name}", brokers());
    let error = DRIVER.open(&address.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("cleanup.policy"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_producers_agree_on_the_partition() {
    let name = topic("outside");
    let (a, mut events) = open(&format!("kafka://{}?topic={name}", brokers())).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    for channel in ["jobs.1", "jobs.2", "é", "a-much-longer-channel-name"] {
        let record = FutureRecord::to(&name).key(channel).payload("x");
        let delivery = producer.send(record, Duration::from_secs(5)).await.unwrap();
        assert_eq!(
            a.lane(channel),
            Some(delivery.partition as u32),
            "{channel}"
        );
        assert_eq!(next(&mut events).await.unwrap(), b"x");
    }
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_anew_is_announced_with_a_new_epoch() {
    let name = topic("again");
    let (a, mut events) = open(&format!("kafka://{}?topic={name}&partitions=1", brokers())).await;
    let before = a
        .publish(vec![Outgoing::new("c", "old")])
        .await
        .remove(0)
        .unwrap()
        .position()
        .unwrap();
    assert_eq!(next(&mut events).await.unwrap(), b"old");
    let history = a.history().unwrap();
    let page = history.read(&"c".into(), None, 10).await.unwrap();
    assert_eq!((page.publications.len(), page.upto), (1, Some(before)));
    admin()
        .delete_topics(&[&name], &AdminOptions::new())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    admin()
        .create_topics([&new], &AdminOptions::new())
        .await
        .unwrap();
    assert_eq!(next(&mut events).await, Err(GapCause::LogReplaced));
    publish(&a, "new").await;
    assert_eq!(next(&mut events).await.unwrap(), b"new");
    let after = a
        .publish(vec![Outgoing::new("c", "new")])
        .await
        .remove(0)
        .unwrap()
        .position()
        .unwrap();
    assert_ne!(before.epoch, after.epoch);
    let lost = history.read(&"c".into(), Some(before), 10).await;
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::PositionLost);
    let page = history.read(&"c".into(), None, 10).await.unwrap();
    assert_eq!((page.publications.len(), page.upto), (2, Some(after)));
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_partitions_are_read_and_announced() {
    let name = topic("grow");
    let (a, mut events) = open(&format!("kafka://{}?topic={name}&partitions=1", brokers())).await;
    admin()
        .create_partitions([&NewPartitions::new(&name, 4)], &AdminOptions::new())
        .await
        .unwrap();
    assert_eq!(next(&mut events).await, Err(GapCause::LogReplaced));
    for channel in ["a", "b", "c", "d", "e", "f"] {
        a.publish(vec![Outgoing::new(channel, channel)])
            .await
            .remove(0)
            .unwrap();
        assert_eq!(next(&mut events).await.unwrap(), channel.as_bytes());
    }
    a.close().await;
}

/// The epoch of an instance just opened.
async fn first_epoch(events: &mut Events) -> u64 {
    match events.recv().await {
        Some(Event::Progress(position)) => position.epoch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_agree_on_a_topic_created_anew_in_an_instant() {
    let name = topic("instant");
    let address = format!("kafka://{}?topic={name}&partitions=1", brokers());
    let (a, mut of_a) = open(&address).await;
    let (b, mut of_b) = open(&address).await;
    let before = first_epoch(&mut of_a).await;
    assert_eq!(before, first_epoch(&mut of_b).await);
    publish(&a, "old").await;
    assert_eq!(next(&mut of_a).await.unwrap(), b"old");
    assert_eq!(next(&mut of_b).await.unwrap(), b"old");
    let (admin, options) = (admin(), AdminOptions::new());
    admin.delete_topics(&[&name], &options).await.unwrap();
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    while admin.create_topics([&new], &options).await.unwrap()[0].is_err() {}
    // By its offsets alone the new log could be the old one, grown.
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .create()
        .unwrap();
    for data in ["0", "1", "2", "3", "4"] {
        let record = FutureRecord::to(&name).key("c").payload(data);
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }
    for events in [&mut of_a, &mut of_b] {
        // Some may have been read before it was found out; then all come once more, after the gap.
        while next(events).await != Err(GapCause::LogReplaced) {}
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let Some(Event::Published(all)) = events.recv().await else {
                continue;
            };
            for publication in all {
                let epoch = publication.position.unwrap().epoch;
                assert_ne!(epoch, before);
                seen.push((epoch, publication.data));
            }
        }
        assert!(
            seen.iter()
                .map(|(_, data)| &data[..])
                .eq([b"0", b"1", b"2", b"3", b"4"])
        );
        let (c, mut of_c) = open(&address).await;
        assert_eq!(seen[0].0, first_epoch(&mut of_c).await, "a new instance");
        c.close().await;
    }
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_a_slow_reader_came_to_it_is_announced() {
    let name = topic("trim");
    let address = format!("kafka://{}?topic={name}&partitions=1", brokers());
    // Reads ahead as little as can be.
    let slow = format!("{address}&kafka.queued.min.messages=1");
    let (a, _keep) = open(&address).await;
    let (b, mut events) = open(&slow).await;
    // More events than the queue has room for, so that the reader waits.
    for _ in 0..100 {
        publish(&a, "x").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..200 {
        publish(&a, "x").await;
    }
    // Before the messages stand those with which the two instances tried whether they may write.
    let probes = 2;
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&name, 0, Offset::Offset(290 + probes))
        .unwrap();
    admin()
        .delete_records(&upto, &AdminOptions::new())
        .await
        .unwrap();
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    while seen.last() != Some(&300) {
        match timeout(Duration::from_secs(20), events.recv())
            .await
            .unwrap()
        {
            Some(Event::Published(all)) => {
                let offsets = all.iter().map(|one| one.position.unwrap().offset);
                seen.extend(offsets.map(|offset| offset - probes as u128));
            }
            Some(Event::Gap { scope, cause }) => gaps.push((seen.len(), scope, cause)),
            _ => {}
        }
    }
    let Some((at, Scope::Lane(0), GapCause::Trimmed)) = gaps.pop() else {
        panic!("{gaps:?}")
    };
    assert!(gaps.is_empty(), "{gaps:?}");
    let all: Vec<u128> = (1..=at as u128).chain(291..=300).collect();
    assert_eq!(seen, all);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_refused_is_named_without_its_value() {
    let address = "kafka://127.0.0.1:1?kafka.sasl.pasword=hunter2";
    let error = DRIVER.open(&address.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let said = format!("{error} {error:?}");
    assert!(
        said.contains("sasl.pasword") && !said.contains("hunter2"),
        "{said}"
    );
}
