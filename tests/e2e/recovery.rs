//! Clients that come back with a position, to the same hub or to another, and publishers that try again.

use serde_json::{Value, json};

use crate::{
    client::{Client, http, publish},
    hub::Hub,
};

const KAFKA: &str = "HUBPLANE_TEST_KAFKA";

/// A topic of this run, with four partitions.
fn kafka() -> String {
    let address = std::env::var(KAFKA).unwrap_or_else(|_| panic!("{KAFKA} is not set"));
    let id = std::process::id();
    format!("{address}?topic=recovery-{id}&partitions=4")
}

/// Publishes numbers; their positions.
async fn numbers(hub: &Hub, channel: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    let mut positions = Vec::new();
    for n in numbers {
        let body = json!({ "channel": channel, "data": n }).to_string();
        let (status, answer) = publish(hub.address, "", &body).await;
        assert_eq!(status, 200, "{answer}");
        positions.push(answer["position"].as_str().unwrap().to_owned());
    }
    positions
}

/// Subscribes from a position; the reply, and then so many messages' data.
async fn back(hub: &Hub, channel: &str, since: &str, count: usize) -> (Value, Vec<Value>) {
    let mut client = Client::connect(hub.address, "", &[]).await;
    client
        .send(
            &json!({ "type": "subscribe", "ref": 1, "channel": channel, "since": since })
                .to_string(),
        )
        .await;
    let reply = client.json().await;
    assert!(count == 0 || reply["recovered"] == true, "{reply}");
    let mut data = Vec::new();
    for _ in 0..count {
        data.push(client.json().await["data"].clone());
    }
    (reply, data)
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_once_and_in_order() {
    let hub = Hub::start(&["--backplane", "memory:"]);
    let positions = numbers(&hub, "c", 0..50).await;
    let (reply, data) = back(&hub, "c", &positions[19], 30).await;
    // The answer repeats the client's own position: what was missed is still to come.
    assert_eq!(reply["recovered"], true, "{reply}");
    assert_eq!(reply["position"], positions[19].as_str());
    assert_eq!(data, (20..50).map(Value::from).collect::<Vec<_>>());
    let (reply, _) = back(&hub, "c", &positions[49], 0).await;
    assert_eq!(reply["recovered"], true, "nothing was missed: {reply}");
    // Another first digit is another epoch.
    let digit = if positions[0].starts_with('1') {
        "2"
    } else {
        "1"
    };
    let foreign = format!("{digit}{}", &positions[0][1..]);
    let (reply, _) = back(&hub, "c", &foreign, 0).await;
    assert_eq!(reply["recovered"], false, "another log: {reply}");
    // Both recoveries came from memory, and none from the broker.
    let metrics = http(hub.address, "GET /metrics", "").await.1;
    assert!(
        metrics.contains("hubplane_recoveries_total{from=\"window\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn more_than_is_allowed_is_not_recovered_and_can_be_read_in_pages() {
    // 24 messages are missing, and 10 are allowed.
    let hub = Hub::configured("[limits]\nrecovery_messages = 10\n");
    let positions = numbers(&hub, "c", 0..30).await;
    let (reply, _) = back(&hub, "c", &positions[5], 0).await;
    assert_eq!(reply["recovered"], false, "{reply}");
    // The way that is left: reading the history page by page.
    let mut after = positions[5].clone();
    let mut got = Vec::new();
    loop {
        let target = format!("GET /v1/channels/c/history?after={after}&limit=10");
        let (status, answer) = http(hub.address, &target, "").await;
        assert_eq!(status, 200, "{answer}");
        let page: Value = serde_json::from_str(&answer).unwrap();
        got.extend(
            page["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["data"].clone()),
        );
        after = page["position"].as_str().unwrap().to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(got, (6..30).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_window_no_longer_has_is_read_from_the_broker() {
    // The window holds about five messages.
    let hub = Hub::configured("[limits]\nmessage_bytes = 1000\nwindow_bytes = 5100\n");
    let positions = numbers(&hub, "c", 0..100).await;
    let (reply, data) = back(&hub, "c", &positions[9], 90).await;
    assert_eq!(reply["recovered"], true, "{reply}");
    assert_eq!(data, (10..100).map(Value::from).collect::<Vec<_>>());
    let metrics = http(hub.address, "GET /metrics", "").await.1;
    assert!(
        metrics.contains("hubplane_recoveries_total{from=\"history\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn another_hub_goes_on_where_a_killed_one_was() {
    let address = kafka();
    let start = || Hub::start(&["--backplane", &address]);
    let (mut a, b) = (start(), start());
    let before = numbers(&a, "jobs.1", 0..20).await;
    // Killed: it has not told anybody anything.
    a.kill();
    let after = numbers(&b, "jobs.1", 20..40).await;
    let (reply, data) = back(&b, "jobs.1", &before[9], 30).await;
    assert_eq!(reply["recovered"], true, "{reply}");
    assert_eq!(data, (10..40).map(Value::from).collect::<Vec<_>>());
    // One that starts now has filled its window from the log.
    let c = start();
    let reads = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with("hubplane_history_reads_total"));
        line.unwrap().to_owned()
    };
    // Reads of the log before and after must be the same: the window was enough.
    let at_start = reads(&http(c.address, "GET /metrics", "").await.1);
    let (reply, data) = back(&c, "jobs.1", &after[0], 19).await;
    assert_eq!(reply["recovered"], true, "{reply}");
    assert_eq!(data, (21..40).map(Value::from).collect::<Vec<_>>());
    assert_eq!(
        reads(&http(c.address, "GET /metrics", "").await.1),
        at_start
    );
}

#[tokio::test]
async fn a_publish_that_is_tried_again_reaches_each_client_once() {
    let address = kafka();
    let (a, b) = (
        Hub::start(&["--backplane", &address]),
        Hub::start(&["--backplane", &address]),
    );
    let mut client = Client::connect(b.address, "?channel=again", &[]).await;
    assert_eq!(client.json().await["type"], "subscribed");
    let body = json!({ "channel": "again", "data": "first" }).to_string();
    // The same key at two hubs, and once more at the first.
    for hub in [&a, &b, &a] {
        let (status, answer) = publish(hub.address, "idempotency-key: k-1\r\n", &body).await;
        assert_eq!(status, 200, "{answer}");
    }
    let last = json!({ "channel": "again", "data": "last" }).to_string();
    publish(a.address, "", &last).await;
    let first = client.json().await;
    assert_eq!(
        (&first["id"], &first["data"]),
        (&"k-1".into(), &"first".into())
    );
    assert_eq!(client.json().await["data"], "last");
    let long = format!("idempotency-key: {}\r\n", "k".repeat(70));
    assert_eq!(publish(a.address, &long, &last).await.0, 400);
}
