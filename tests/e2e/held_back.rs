//! What a client sends faster than it may is read later: nothing of it is lost, and the session stays.

use std::{fs, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, Raw, frame, publish},
    hub::{Hub, directory},
};

/// 32 bytes, the least that a key may have.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A frame with one publication; its number is its `ref`, and stands in its data.
fn publication(number: usize, filling: &str) -> Vec<u8> {
    let text = format!(
        r#"{{"type":"publish","ref":{number},"channel":"a","data":[{number},"{filling}"]}}"#
    );
    frame(0x81, text.as_bytes())
}

/// Reads the answers to this many publications, and answers pings.
async fn answered(raw: &mut Raw, count: usize) {
    let mut next = 0;
    while next < count {
        let (opcode, payload) = raw.frame().await.expect("the session stays");
        let text = String::from_utf8_lossy(&payload);
        match opcode {
            9 => raw.0.write_all(&frame(0x8a, &payload)).await.unwrap(),
            1 => {
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["type"], "published", "{text}");
                assert_eq!(json["ref"], next);
                next += 1;
            }
            _ => panic!("opcode {opcode} {text} after {next} of {count}"),
        }
    }
}

#[tokio::test]
async fn a_publisher_of_5000_a_second_is_not_closed_and_loses_nothing() {
    // Three seconds at 5,000 a second, in bursts of 100 every 20 ms.
    const SECONDS: usize = 3;
    let place = directory("key");
    let file = place.join("key");
    fs::write(&file, KEY).unwrap();
    let file = file.to_str().unwrap();
    let hub = Hub::start(&["--key-file", file, "--anonymous", "subscribe"]);
    let mut subscriber = Client::connect(hub.address, "?channel=a", &[]).await;
    assert_eq!(subscriber.json().await["type"], "subscribed");
    let key = format!("authorization: Bearer {KEY}\r\n");
    // A session with the key may send far more (`inbound_key_bytes_per_second`).
    let raw = Raw::connect_with(hub.address, "", &key).await;
    let (reading, mut writing) = raw.0.into_split();
    let start = Instant::now();
    let publishing = tokio::spawn(async move {
        for n in 0..SECONDS * 50 {
            let burst: Vec<u8> = (n * 100..n * 100 + 100)
                .flat_map(|number| publication(number, &"x".repeat(100)))
                .collect();
            writing.write_all(&burst).await.unwrap();
            let due = Duration::from_millis(20) * (n as u32 + 1);
            sleep(due.saturating_sub(start.elapsed())).await;
        }
        writing
    });
    // Everything, once and in order.
    let receiving = async {
        for number in 0..SECONDS * 5_000 {
            assert_eq!(subscriber.json().await["data"][0], number);
        }
    };
    // Its answers are read, so that it is no slow client.
    let ignoring = tokio::spawn(async move {
        let mut reading = reading;
        tokio::io::copy(&mut reading, &mut tokio::io::sink()).await
    });
    timeout(Duration::from_secs(60), receiving).await.unwrap();
    let writing = publishing.await.unwrap();
    assert!(!ignoring.is_finished(), "the session is open");
    drop(writing);
    ignoring.abort();
}

#[tokio::test]
async fn who_sends_too_fast_is_read_later_and_its_pongs_count() {
    const MESSAGES: usize = 500;
    // 700 kB at 200 kB a second, with pings that must be answered meanwhile.
    let limits = "inbound_bytes_per_second = 200000\ninbound_burst = 100000\nping_interval = \"600ms\"\n\
                  pong_timeout = \"300ms\"\n";
    let hub = Hub::configured(&format!("[limits]\n{limits}"));
    let raw = Raw::connect(hub.address, "").await;
    let (reading, mut writing) = raw.0.into_split();
    let start = Instant::now();
    // All at once: the hub must read it as slowly as it likes.
    let all: Vec<u8> = (0..MESSAGES)
        .flat_map(|number| publication(number, &"x".repeat(1_400)))
        .collect();
    let write = tokio::spawn(async move {
        writing.write_all(&all).await.unwrap();
        writing
    });
    let writing = write.await.unwrap();
    let mut raw = Raw(reading.reunite(writing).unwrap());
    answered(&mut raw, MESSAGES).await;
    let spent = start.elapsed();
    // Not faster than the limit allows, and not stuck.
    let range = Duration::from_secs(2)..Duration::from_secs(12);
    assert!(
        range.contains(&spent),
        "700 kB at 200 kB a second: {spent:?}"
    );
}

#[tokio::test]
async fn one_read_brings_no_more_publications_than_may_wait() {
    // Far more publications in one read than may wait.
    let hub = Hub::configured("[limits]\npublish_messages = 64\nsession_publishes = 16\n");
    let mut raw = Raw::connect(hub.address, "").await;
    let all: Vec<u8> = (0..800)
        .flat_map(|number| publication(number, ""))
        .collect();
    raw.0.write_all(&all).await.unwrap();
    answered(&mut raw, 800).await;
}

#[tokio::test]
async fn what_comes_with_the_handshake_is_carried_out_at_once() {
    let hub = Hub::memory();
    // A close frame with the code 1000, in the packet of the request.
    let mut raw = Raw::connect_with_early(hub.address, &frame(0x88, b"\x03\xe8")).await;
    let start = Instant::now();
    assert_eq!(raw.close_code().await, 1000);
    assert!(raw.frame().await.is_none(), "the connection ends");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn unfinished_messages_and_bodies_have_a_total() {
    // Three unfinished messages take 180,000 of the 200,000 bytes.
    let hub = Hub::configured("[limits]\nunfinished_bytes = 200000\n");
    let mut begun = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(hub.address, "").await;
        // A message of 60,000 bytes of which the last one is missing.
        let mut whole = frame(0x81, &[b'x'; 60_000]);
        whole.pop();
        raw.0.write_all(&whole).await.unwrap();
        begun.push(raw);
    }
    sleep(Duration::from_millis(500)).await;
    let large = "x".repeat(60_000);
    let body = format!(r#"{{"channel":"a","data":"{large}"}}"#);
    // An HTTP body counts towards the same total (503: try again).
    let (status, answer) = publish(hub.address, "", &body).await;
    assert_eq!(status, 503, "{answer}");
    let mut late = Raw::connect(hub.address, "").await;
    late.0
        // A fragment (no FIN) counts as well.
        .write_all(&frame(0x01, &[b'x'; 30_000]))
        .await
        .unwrap();
    assert_eq!(late.close_code().await, 1013);
    drop(begun);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(
        publish(hub.address, "", &body).await.0,
        200,
        "room is given back"
    );
}
