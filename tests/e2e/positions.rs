//! What a client's position is worth on a real broker's log that another program, or its operator, has treated badly.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::{Client, http, publish},
    cluster::kafka_tool,
    hub::{Hub, unique},
};

/// The streams of one test on the Redis of all tests.
struct Streams {
    broker: String,
    prefix: String,
}

impl Streams {
    fn new() -> Self {
        let broker = std::env::var("HUBPLANE_TEST_REDIS").expect("HUBPLANE_TEST_REDIS is not set");
        let prefix = format!("positions-{}:", unique());
        Self { broker, prefix }
    }

    /// A hub on four streams of this test.
    fn hub(&self) -> Hub {
        let address = self.broker.replace("redis://", "redis+streams://");
        let address = format!("{address}?prefix={}&streams=4", self.prefix);
        Hub::start(&["--backplane", &address])
    }

    /// The key of a stream, as the backend names it. The braces keep all of one lane in one slot.
    fn key(&self, lane: u32) -> String {
        format!("{}stream:{{{lane}}}", self.prefix)
    }

    /// What redis-cli prints; a failure of it fails the test.
    fn redis(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-u", &self.broker])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Another program writes a message of the channel into a stream of its choice.
    fn write(&self, lane: u32, channel: &str, data: &str) {
        let key = self.key(lane);
        self.redis(&["XADD", &key, "*", "c", channel, "d", data]);
    }
}

/// The lane that a position is in: its second part.
fn lane(position: &str) -> u32 {
    let part = position.split('-').nth(1).unwrap();
    u32::from_str_radix(part, 16).unwrap()
}

/// Publishes one message; its position.
async fn published(hub: &Hub, channel: &str, data: u64) -> String {
    let body = json!({ "channel": channel, "data": data }).to_string();
    let (status, answer) = publish(hub.address, "", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["position"].as_str().unwrap().to_owned()
}

/// A client that subscribes, from a position if one is given; and the reply.
async fn subscribed(hub: &Hub, channel: &str, since: Option<&str>) -> (Client, Value) {
    let mut client = Client::connect(hub.address, "", &[]).await;
    let mut subscribe = json!({ "type": "subscribe", "channel": channel });
    if let Some(since) = since {
        subscribe["since"] = since.into();
    }
    client.send(&subscribe.to_string()).await;
    let reply = client.json().await;
    (client, reply)
}

#[tokio::test]
async fn who_comes_back_to_a_log_that_was_rolled_back_while_no_hub_ran_is_told() {
    let streams = Streams::new();
    let before = streams.hub();
    let kept = published(&before, "c", 1).await;
    let key = streams.key(lane(&kept));
    // The stream as it is now, to go back to.
    let copy = format!("{key}:copy");
    streams.redis(&["COPY", &key, &copy]);
    let mut last = String::new();
    for n in 2..20 {
        last = published(&before, "c", n).await;
    }
    // No hub runs while the log changes, so none can have noticed.
    drop(before);
    streams.redis(&["COPY", &copy, &key, "REPLACE"]);
    // Grown again past the old end: the old position exists, and is another message's.
    for n in 100..150 {
        streams.write(lane(&kept), "c", &n.to_string());
    }
    let after = streams.hub();
    // It has seen what is gone, so it must be told.
    let (_client, reply) = subscribed(&after, "c", Some(&last)).await;
    assert_eq!(reply["recovered"], false, "18 messages are gone: {reply}");
    // It was there before the copy: everything since then is new to it.
    let (mut client, reply) = subscribed(&after, "c", Some(&kept)).await;
    assert_eq!(reply["recovered"], true, "{reply}");
    for n in 100..150 {
        assert_eq!(client.json().await["data"], n);
    }
}

#[tokio::test]
async fn a_channel_in_a_foreign_stream_is_recovered_from_there_and_else_told() {
    let streams = Streams::new();
    let hub = streams.hub();
    let (mut client, reply) = subscribed(&hub, "jobs.1.0", None).await;
    let start = reply["position"].as_str().unwrap().to_owned();
    // Any lane but the one that a hub would choose.
    let foreign = (lane(&start) + 1) % 4;
    for n in 0..5 {
        streams.write(foreign, "jobs.1.0", &n.to_string());
    }
    let mut positions = Vec::new();
    for n in 0..5 {
        let message = client.json().await;
        assert_eq!(message["data"], n, "it is delivered all the same");
        positions.push(message["position"].as_str().unwrap().to_owned());
    }
    // A position of the usual lane says nothing of the foreign one.
    let (_client, reply) = subscribed(&hub, "jobs.1.0", Some(&start)).await;
    assert_eq!(reply["recovered"], false, "{reply}");
    let now = reply["position"].as_str().unwrap().to_owned();
    // A position of the foreign lane leads on there.
    let (mut client, reply) = subscribed(&hub, "jobs.1.0", Some(&positions[1])).await;
    assert_eq!(reply["recovered"], true, "{reply}");
    for n in 2..5 {
        assert_eq!(client.json().await["data"], n);
    }
    // The answer before has put the client into the foreign lane.
    let (_client, reply) = subscribed(&hub, "jobs.1.0", Some(&now)).await;
    assert_eq!(reply["recovered"], true, "from where it was put: {reply}");
    // Now a hub publishes to it, too.
    let own = published(&hub, "jobs.1.0", 5).await;
    assert_eq!(client.json().await["data"], 5);
    // Now the channel lies in two lanes, and no position can speak for both.
    for position in [&positions[4], &own] {
        let (_client, reply) = subscribed(&hub, "jobs.1.0", Some(position)).await;
        assert_eq!(reply["recovered"], false, "in two lanes: {reply}");
    }
    let metrics = http(hub.address, "GET /metrics", "").await.1;
    let counted = "hubplane_foreign_lane_total 5\n";
    assert!(metrics.contains(counted), "{metrics}");
}

/// Java's producer with another partitioner spreads one channel over all partitions.
#[tokio::test]
async fn another_partitioner_never_makes_a_client_miss_messages_in_silence() {
    let broker = std::env::var("HUBPLANE_TEST_KAFKA").expect("HUBPLANE_TEST_KAFKA is not set");
    let topic = format!("positions-{}", unique());
    let address = format!("{broker}?topic={topic}&partitions=6");
    let hub = Hub::start(&["--backplane", &address]);
    let (client, reply) = subscribed(&hub, "jobs.1.0", None).await;
    let start = reply["position"].as_str().unwrap().to_owned();
    // Nobody is there while the producer begins.
    drop(client);
    let (mut witness, _) = subscribed(&hub, "jobs.1.0", None).await;
    let mut producer = kafka_tool("org.apache.kafka.tools.ConsoleProducer");
    // One partition after the other, whatever the key.
    let partitioner = "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner";
    producer
        .args(["--bootstrap-server", broker.trim_start_matches("kafka://")])
        .args(["--topic", &topic, "--command-property", partitioner])
        .args(["--reader-property", "parse.key=true"])
        .args(["--reader-property", "key.separator=|"]);
    let lines: String = (0..12).map(|n| format!("jobs.1.0|{n}\n")).collect();
    crate::cluster::feed(producer, &lines);
    let mut positions = vec![start];
    for _ in 0..12 {
        let message = witness.json().await;
        assert_eq!(message["type"], "message", "{message}");
        positions.push(message["position"].as_str().unwrap().to_owned());
    }
    // The proof that the producer did what the test is about.
    let mut lanes: Vec<_> = positions.iter().map(|it| lane(it)).collect();
    lanes.sort_unstable();
    lanes.dedup();
    assert!(
        lanes.len() > 2,
        "the channel is in several lanes: {lanes:?}"
    );
    // No position is enough, so each return must be told.
    for position in &positions {
        let (_client, reply) = subscribed(&hub, "jobs.1.0", Some(position)).await;
        assert_eq!(reply["recovered"], false, "{position}: {reply}");
    }
}

/// Partitions are added to the topic while two hubs run.
#[tokio::test]
async fn partitions_that_are_added_while_hubs_run_are_told_once_and_lose_nothing() {
    let broker = std::env::var("HUBPLANE_TEST_KAFKA").expect("HUBPLANE_TEST_KAFKA is not set");
    let topic = format!("growing-{}", unique());
    let address = format!("{broker}?topic={topic}&partitions=8");
    let hubs = [(); 2].map(|()| Hub::start(&["--backplane", &address]));
    let mut clients = Vec::new();
    // Channels over all partitions, so that each hub has seen each of them.
    for hub in &hubs {
        for n in 0..20 {
            published(hub, &format!("c{n}"), 0).await;
        }
        let client = Client::connect(hub.address, "?channel=c", &[]).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.json().await["type"], "subscribed");
    }
    let mut alter = kafka_tool("org.apache.kafka.tools.TopicCommand");
    alter
        .args(["--bootstrap-server", broker.trim_start_matches("kafka://")])
        .args(["--alter", "--topic", &topic, "--partitions", "12"]);
    crate::cluster::feed(alter, "");
    let altered = Instant::now();
    for n in 0..24 {
        // A new partition's leader may not be known for some seconds. The same id each time: a repeated try must not come twice.
        let body = json!({ "channel": "c", "data": n, "id": format!("n-{n}") }).to_string();
        while publish(hubs[n % 2].address, "", &body).await.0 != 200 {
            assert!(altered.elapsed() < Duration::from_secs(10), "{n}");
        }
        sleep(Duration::from_millis(500)).await;
        // The first ten seconds are for noticing; after that a hub must be ready.
        let (status, answer) = http(hubs[1].address, "GET /ready", "").await;
        let settled = altered.elapsed() < Duration::from_secs(10);
        assert!(settled || status == 200, "{answer}");
    }
    for client in &mut clients {
        let (mut gaps, mut missed, mut next) = (0, 0, 0);
        while next < 24 {
            let frame = client.json().await;
            // One announcement is allowed; without it each number must follow the last.
            match frame["type"].as_str() {
                Some("gap") => gaps += 1,
                _ => {
                    let n = frame["data"].as_u64().unwrap();
                    assert!(n >= next, "{n} after {next}");
                    assert!(n == next || gaps > 0, "{next} is missing in silence");
                    missed += n - next;
                    next = n + 1;
                }
            }
        }
        // Told once, and nothing lost.
        assert_eq!((gaps, missed), (1, 0));
    }
}

/// What the window no longer has is read from the log, and the log shows that it is the client's.
async fn is_recognised_by_the_log(address: &str) {
    // A window of five messages, so that older ones are read from the log.
    let hub = Hub::configured(&format!(
        "backplane = \"{address}\"\n[limits]\nmessage_bytes = 1024\nwindow_bytes = 5120\n"
    ));
    let (mut client, _) = subscribed(&hub, "c", None).await;
    let mut positions = Vec::new();
    for n in 0..40 {
        let body = json!({ "channel": "c", "data": n }).to_string();
        assert_eq!(publish(hub.address, "", &body).await.0, 200);
        let message = client.json().await;
        positions.push(message["position"].as_str().unwrap().to_owned());
    }
    // Far back, and in the middle.
    for first in [0, 9] {
        let (mut client, reply) = subscribed(&hub, "c", Some(&positions[first])).await;
        assert_eq!(reply["recovered"], true, "{reply}");
        for n in first + 1..40 {
            assert_eq!(client.json().await["data"], n);
        }
    }
    // The same place, but another message's fingerprint.
    let (place, _) = positions[9].rsplit_once('-').unwrap();
    let (_, fingerprint) = positions[10].rsplit_once('-').unwrap();
    let (_client, reply) = subscribed(&hub, "c", Some(&format!("{place}-{fingerprint}"))).await;
    assert_eq!(reply["recovered"], false, "{reply}");
}

#[tokio::test]
async fn a_position_is_recognised_by_the_log_of_kafka() {
    let broker = std::env::var("HUBPLANE_TEST_KAFKA").expect("HUBPLANE_TEST_KAFKA is not set");
    is_recognised_by_the_log(&format!("{broker}?topic=known-{}", unique())).await;
}

#[tokio::test]
async fn a_position_is_recognised_by_the_log_of_redis() {
    let streams = Streams::new();
    let broker = streams.broker.replace("redis://", "redis+streams://");
    is_recognised_by_the_log(&format!("{broker}?prefix={}", streams.prefix)).await;
}

#[tokio::test]
async fn a_position_is_recognised_by_the_log_of_rabbitmq() {
    let broker =
        std::env::var("HUBPLANE_TEST_RABBITMQ").expect("HUBPLANE_TEST_RABBITMQ is not set");
    let broker = broker.replace("amqp://", "amqp+streams://");
    is_recognised_by_the_log(&format!("{broker}?exchange=known-{}", unique())).await;
}
