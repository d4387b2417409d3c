//! Transactions of other programs: what they took back is never shown, and an open one is no loss and no silence.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::time::Duration;

use hubplane_backplane::{Driver, Event, Events, Outgoing};
use hubplane_conformance::required;
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn brokers() -> String {
    required("HUBPLANE_TEST_KAFKA")
        .trim_start_matches("kafka://")
        .to_owned()
}

fn unique(name: &str) -> String {
    format!("hp-{name}-{:x}", rand())
}

fn rand() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

fn transactional() -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", unique("tx"))
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

fn write(producer: &BaseProducer, topic: &str, data: &str) {
    let record = BaseRecord::to(topic).key("c").payload(data).partition(0);
    producer.send(record).unwrap();
    producer.flush(PATIENCE).unwrap();
}

/// Takes events until this message, and returns the messages before it. Nothing may be lost, and the connection is well.
async fn until(events: &mut Events, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let event = timeout(PATIENCE, events.recv()).await;
        match event
            .unwrap_or_else(|_| panic!("only {seen:?} before {last}"))
            .unwrap()
        {
            Event::Published(all) => {
                for message in all {
                    let text = String::from_utf8(message.data.to_vec()).unwrap();
                    match text == last {
                        true => return seen,
                        false => seen.push(text),
                    }
                }
            }
            wrong @ (Event::Gap { .. } | Event::Down(_)) => panic!("{wrong:?} before {last}"),
            _ => {}
        }
    }
}

/// Whether the lanes that wait are said to be these, within a time.
async fn waiting(events: &mut Events, lanes: &[u32]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let event = timeout_at(end, events.recv()).await;
        match event.expect("the waiting lanes are told").unwrap() {
            Event::Waiting(told) => return assert_eq!(told, lanes),
            Event::Progress(_) | Event::Up => {}
            other => panic!("{other:?} instead of the waiting lanes"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_its_partition_up_and_nothing_is_lost() {
    let topic = unique("open");
    let address = format!("kafka://{}?topic={topic}&partitions=1", brokers());
    let mut opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
    let backplane = &opened.backplane;
    let publish = async |data: &'static str| {
        let answers = backplane.publish(vec![Outgoing::new("c", data)]).await;
        for answer in answers {
            answer.unwrap();
        }
    };
    publish("first").await;
    assert_eq!(until(&mut opened.events, "first").await, [""; 0]);
    let name = topic.clone();
    let producer = spawn_blocking(move || {
        let producer = transactional();
        producer.begin_transaction().unwrap();
        write(&producer, &name, "committed");
        producer
    });
    let producer = producer.await.unwrap();
    publish("behind it").await;
    waiting(&mut opened.events, &[0]).await;
    // Longer than it takes a watch to find a reading that stands still.
    let silent = timeout(Duration::from_secs(7), until(&mut opened.events, "nothing")).await;
    assert!(silent.is_err());
    spawn_blocking(move || producer.commit_transaction(PATIENCE).unwrap())
        .await
        .unwrap();
    let before = until(&mut opened.events, "behind it").await;
    assert_eq!(before, ["committed"]);
    waiting(&mut opened.events, &[]).await;
    opened.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_took_back_is_never_shown() {
    let topic = unique("aborted");
    let address = format!("kafka://{}?topic={topic}&partitions=1", brokers());
    let mut opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
    let name = topic.clone();
    spawn_blocking(move || {
        let producer = transactional();
        producer.begin_transaction().unwrap();
        write(&producer, &name, "taken back");
        producer.abort_transaction(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        write(&producer, &name, "kept");
        producer.commit_transaction(PATIENCE).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(until(&mut opened.events, "kept").await, [""; 0]);
    opened.backplane.close().await;
}
