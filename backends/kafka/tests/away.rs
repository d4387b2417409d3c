//! A broker that is frozen, or restarts behind the end of a transaction. It hurts the broker, so it is one test in a
//! program of its own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use hubplane_backplane::{Driver, ErrorKind, Event, Events, History, Outgoing, Position};
use hubplane_conformance::{Control, required};
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer},
};
use tokio::time::timeout;

const CONTROL: &str = "HUBPLANE_TEST_KAFKA_CONTROL";

fn signal(name: &str) {
    let control = required(CONTROL);
    let dir = control.split_whitespace().last().unwrap();
    let pid = std::fs::read_to_string(format!("{dir}/pid")).unwrap();
    let pid = pid.split_whitespace().next().unwrap();
    let done = Command::new("kill").args([name, pid]).status().unwrap();
    assert!(done.success());
}

/// Takes events until one is as wanted; what was published until then is kept.
async fn until(events: &mut Events, seen: &mut Vec<String>, wanted: impl Fn(&Event) -> bool) {
    loop {
        let event = timeout(Duration::from_secs(60), events.recv()).await;
        let event = event.expect("an event in time").expect("open");
        assert!(!matches!(event, Event::Gap { .. }), "{event:?}");
        let done = wanted(&event);
        if let Event::Published(all) = event {
            let all = all
                .iter()
                .map(|one| String::from_utf8_lossy(&one.data).into_owned());
            seen.extend(all);
        }
        if done {
            return;
        }
    }
}

fn commit_a_transaction(brokers: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", topic)
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    producer.begin_transaction().unwrap();
    let record = BaseRecord::to(topic).key("c").payload("of a transaction");
    producer.send(record).unwrap();
    producer
        .commit_transaction(Duration::from_secs(20))
        .unwrap();
}

/// Reading back too has got over the restart.
async fn reads_on(history: &dyn History, after: Option<Position>) {
    let asked = Instant::now();
    let page = history.read(&"c".into(), after, 10).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5));
    let texts: Vec<_> = page.publications.iter().map(|one| &one.data[..]).collect();
    assert_eq!(texts, [&b"of a transaction"[..], b"after"]);
    assert!(!page.more);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_and_a_restart_behind_a_transaction_are_survived() {
    let brokers = required("HUBPLANE_TEST_KAFKA");
    let brokers = brokers.trim_start_matches("kafka://");
    let topic = format!("hp-away-{}", std::process::id());
    let address = format!("kafka://{brokers}?topic={topic}&partitions=2");
    let opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
    let (backplane, mut events) = (opened.backplane, opened.events);
    let mut seen = Vec::new();
    let is = |text: &'static str| move |event: &Event| matches!(event, Event::Published(all) if all.iter().any(|one| one.data == text));
    backplane.publish(vec![Outgoing::new("c", "before")]).await[0]
        .as_ref()
        .unwrap();
    until(&mut events, &mut seen, is("before")).await;
    // Its consumer has to get over all that follows.
    let history = backplane.history().unwrap();
    let before = history.read(&"c".into(), None, 10).await.unwrap();
    assert_eq!(before.publications.len(), 1);

    signal("-STOP");
    let frozen = Instant::now();
    until(&mut events, &mut seen, |event| {
        matches!(event, Event::Down(_))
    })
    .await;
    assert!(
        frozen.elapsed() < Duration::from_millis(3_500),
        "{:?}",
        frozen.elapsed()
    );
    let refused = backplane
        .publish(vec![Outgoing::new("c", "lost")])
        .await
        .remove(0);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(frozen.elapsed() < Duration::from_millis(4_000));
    let away = history.read(&"c".into(), None, 10).await;
    assert_eq!(away.unwrap_err().kind(), ErrorKind::Unavailable);
    tokio::time::sleep(Duration::from_secs(6)).await;
    signal("-CONT");
    let thawed = Instant::now();
    until(&mut events, &mut seen, |event| *event == Event::Up).await;
    assert!(
        thawed.elapsed() < Duration::from_secs(10),
        "{:?}",
        thawed.elapsed()
    );

    // Its end is a mark that no reader is ever given.
    let (of, to) = (brokers.to_owned(), topic.clone());
    tokio::task::spawn_blocking(move || commit_a_transaction(&of, &to))
        .await
        .unwrap();
    until(&mut events, &mut seen, is("of a transaction")).await;
    let control = Control::from_env(CONTROL);
    control.kill().await;
    until(&mut events, &mut seen, |event| {
        matches!(event, Event::Down(_))
    })
    .await;
    control.start().await;
    // Before this instance is back, an outside producer is.
    let outside: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let record = FutureRecord::to(&topic).key("d").payload("meanwhile");
    outside.send(record, Duration::from_secs(20)).await.unwrap();
    let ready = Instant::now();
    until(&mut events, &mut seen, |event| *event == Event::Up).await;
    assert!(
        ready.elapsed() < Duration::from_secs(10),
        "{:?}",
        ready.elapsed()
    );
    backplane.publish(vec![Outgoing::new("c", "after")]).await[0]
        .as_ref()
        .unwrap();
    until(&mut events, &mut seen, is("after")).await;

    reads_on(history, before.upto).await;
    let once: BTreeSet<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(once.len(), seen.len(), "{seen:?}");
    assert!(!once.contains("lost"), "what was refused was never sent");
    for wanted in ["before", "of a transaction", "meanwhile", "after"] {
        assert!(once.contains(wanted), "{wanted}: {seen:?}");
    }
    backplane.close().await;
}
