//! Reading back, and reading anew, on a real broker.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{
    Backplane, Channel, Driver, ErrorKind, Event, Events, History, Outgoing, Position, Publication,
    Start,
};
use hubplane_conformance::required;
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer},
};
use tokio::time::{sleep, timeout};

fn brokers() -> String {
    required("HUBPLANE_TEST_KAFKA")
        .trim_start_matches("kafka://")
        .to_owned()
}

/// A new topic's name.
fn unique(name: &str) -> String {
    let unique = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros();
    format!("hp-{name}-{unique}")
}

/// A new topic of one partition, where every channel is in every other's way.
async fn open(name: &str) -> (String, Arc<dyn Backplane>, Events) {
    open_topic(unique(name)).await
}

async fn open_topic(topic: String) -> (String, Arc<dyn Backplane>, Events) {
    let address = format!("kafka://{}?topic={topic}&partitions=1", brokers());
    let opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
    (topic, opened.backplane, opened.events)
}

/// Publishes `count` messages to a channel and tells the last one's position.
async fn publish(backplane: &Arc<dyn Backplane>, channel: &str, count: usize) -> Position {
    let mut last = None;
    for from in (0..count).step_by(1_000) {
        let batch = (from..count.min(from + 1_000))
            .map(|n| Outgoing {
                id: Some(format!("id-{n}").into()),
                tags: vec![("n".into(), n.to_string().into())],
                ..Outgoing::new(channel, n.to_string())
            })
            .collect();
        for receipt in backplane.publish(batch).await {
            last = receipt.unwrap().position();
        }
    }
    last.unwrap()
}

/// Takes events until so many publications have come.
async fn take(events: &mut Events, count: usize) -> Vec<Publication> {
    let mut all = Vec::new();
    while all.len() < count {
        let event = timeout(Duration::from_secs(30), events.recv()).await;
        match event.expect("an event in time").expect("open") {
            Event::Published(publications) => all.extend(publications),
            Event::Gap { cause, .. } => panic!("a gap: {cause}"),
            _ => {}
        }
    }
    all
}

fn texts(publications: &[Publication]) -> Vec<String> {
    let texts = publications.iter();
    texts
        .map(|one| String::from_utf8_lossy(&one.data).into_owned())
        .collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// All pages of a channel from the start.
async fn pages(history: &dyn History, channel: &str, limit: usize) -> Vec<Publication> {
    let channel: Channel = channel.into();
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = history.read(&channel, after, limit).await.unwrap();
        assert!(page.publications.len() <= limit);
        all.extend(page.publications);
        if !page.more {
            return all;
        }
        assert_ne!(page.upto, after, "a page gets on");
        after = page.upto;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_what_arrived() {
    let (_, a, mut events) = open("pages").await;
    let mut live = Vec::new();
    for _ in 0..5 {
        publish(&a, "c", 1_000).await;
        publish(&a, "d", 500).await;
        live.extend(take(&mut events, 1_500).await);
    }
    live.retain(|one| &*one.channel == "c");
    let history = a.history().unwrap();
    assert_eq!(pages(history, "c", 100).await, live);
    assert_eq!(pages(history, "c", 10_000).await, live);
    a.close().await;
    let error = history.read(&"c".into(), None, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_has_every_channel_and_its_positions_are_those_of_reads() {
    let (_, a, mut events) = open("scan").await;
    let history = a.history().unwrap();
    let empty = history
        .scan(0, Start::since(Duration::MAX), 10)
        .await
        .unwrap();
    assert!(empty.publications.is_empty() && !empty.more);
    for n in 0..30 {
        publish(&a, &format!("c{}", n % 3), 1).await;
    }
    let live = take(&mut events, 30).await;
    let from = Start::After(empty.upto.unwrap());
    let first = history.scan(0, from, 20).await.unwrap();
    assert_eq!(first.publications, live[..20]);
    assert!(first.more && first.upto == live[19].position);
    let from = Start::After(first.upto.unwrap());
    let rest = history.scan(0, from, 20).await.unwrap();
    assert_eq!(rest.publications, live[20..]);
    assert!(!rest.more && rest.upto == live[29].position);
    let read = history.read(&"c1".into(), first.upto, 20).await.unwrap();
    assert_eq!(texts(&read.publications).len(), 3);
    let other = history.scan(7, Start::since(Duration::MAX), 1).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::PositionLost);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_age_leaves_out_what_is_older() {
    // A topic of somebody else's, whose times are the publishers'.
    let (topic, mut client) = (unique("age"), ClientConfig::new());
    client.set("bootstrap.servers", brokers());
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "CreateTime");
    let made = admin.create_topics([&new], &AdminOptions::new()).await;
    made.unwrap().pop().unwrap().unwrap();
    let producer: FutureProducer = client.create().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    for minutes in [60, 30, 10, 1] {
        let data = minutes.to_string();
        let record = FutureRecord::to(&topic).key("c").payload(&data);
        let record = record.timestamp(now - minutes * 60_000);
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }
    let (_, a, _events) = open_topic(topic).await;
    let history = a.history().unwrap();
    for (minutes, wanted) in [
        (0, &[][..]),
        (5, &["1"]),
        (20, &["10", "1"]),
        (6_000, &["60", "30", "10", "1"]),
    ] {
        let age = Duration::from_secs(minutes * 60);
        let page = history.scan(0, Start::since(age), 10).await.unwrap();
        assert_eq!(texts(&page.publications), wanted, "{minutes} minutes");
        assert!(!page.more);
        // Four, and the one with which the instance tried whether it may write.
        assert_eq!(page.upto.unwrap().offset, 5);
    }
    let newest = Start::Recent {
        age: Duration::MAX,
        most: 3,
    };
    let page = history.scan(0, newest, 10).await.unwrap();
    assert_eq!(texts(&page.publications), ["10", "1"]);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_is_skipped_quickly() {
    let (_, a, events) = open("skip").await;
    // Nobody reads it: that must not be in the way of reading back.
    let first = publish(&a, "mine", 1).await;
    publish(&a, "noise", 50_000).await;
    let last = publish(&a, "mine", 1).await;
    let (mut after, mut found) = (Some(first), Vec::new());
    loop {
        let start = Instant::now();
        let page = a.history().unwrap().read(&"mine".into(), after, 100).await;
        assert!(start.elapsed() < Duration::from_secs(5));
        let page = page.unwrap();
        found.extend(page.publications);
        after = page.upto;
        if !page.more {
            break;
        }
    }
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].position, after), (Some(last), Some(last)));
    drop(events);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marks_of_transactions_hide_no_end() {
    let (topic, a, mut events) = open("marks").await;
    let name = topic.clone();
    let transactions = move || {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers())
            .set("transactional.id", &name)
            .create()
            .unwrap();
        producer.init_transactions(Duration::from_secs(20)).unwrap();
        for data in ["1", "2", "3"] {
            producer.begin_transaction().unwrap();
            let record = BaseRecord::to(&name).key("c").payload(data);
            producer.send(record).unwrap();
            producer
                .commit_transaction(Duration::from_secs(20))
                .unwrap();
        }
    };
    tokio::task::spawn_blocking(transactions).await.unwrap();
    let live = take(&mut events, 3).await;
    let history = a.history().unwrap();
    let page = history.read(&"c".into(), None, 10).await.unwrap();
    assert_eq!(page.publications, live);
    // Three records, three marks, and before them the instance's own.
    assert!(!page.more);
    assert_eq!(page.upto.unwrap().offset, 7);
    let page = history.read(&"c".into(), page.upto, 10).await.unwrap();
    assert!(page.publications.is_empty() && !page.more);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_all_get_their_page() {
    let (_, a, mut events) = open("many").await;
    publish(&a, "c", 100).await;
    let live = take(&mut events, 100).await;
    let reads = (0..100).map(|n| {
        let (a, after) = (Arc::clone(&a), live[n].position);
        tokio::spawn(async move { a.history().unwrap().read(&"c".into(), after, 10).await })
    });
    let reads: Vec<_> = reads.collect();
    for (n, read) in reads.into_iter().enumerate() {
        // Some callers go away.
        if n % 7 == 3 {
            read.abort();
            continue;
        }
        let page = read.await.unwrap().unwrap();
        let end = (n + 11).min(100);
        assert_eq!(page.publications, live[n + 1..end], "{n}");
        assert_eq!(page.more, end < 100);
    }
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_the_reads_that_wait() {
    let (_, a, mut events) = open("close").await;
    publish(&a, "c", 1_000).await;
    take(&mut events, 1_000).await;
    let reads = (0..500).map(|_| {
        let a = Arc::clone(&a);
        tokio::spawn(async move { a.history().unwrap().read(&"c".into(), None, 999).await })
    });
    let reads: Vec<_> = reads.collect();
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    a.close().await;
    let mut closed = 0;
    for read in reads {
        match read.await.unwrap() {
            Ok(page) => assert_eq!(page.publications.len(), 999),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                closed += 1;
            }
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(closed > 0, "they were quicker than the close");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_anew_neither_loses_nor_repeats() {
    let (_, a, mut events) = open("renew").await;
    let publisher = Arc::clone(&a);
    let publishing = tokio::spawn(async move {
        for n in 0..2_000 {
            let outgoing = Outgoing::new("c", n.to_string());
            publisher.publish(vec![outgoing]).await.remove(0).unwrap();
            if n % 100 == 50 {
                publisher.renew();
                publisher.renew();
            }
        }
    });
    assert_eq!(texts(&take(&mut events, 2_000).await), numbers(0..2_000));
    publishing.await.unwrap();
    a.renew();
    sleep(Duration::from_secs(3)).await;
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event, Event::Progress(_)), "{event:?}");
    }
    publish(&a, "c", 1).await;
    assert_eq!(texts(&take(&mut events, 1).await), ["0"]);
    a.close().await;
    a.renew();
}
