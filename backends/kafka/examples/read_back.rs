//! Measures what reading back costs, on the broker at `HUBPLANE_TEST_KAFKA`: a topic of one partition with 100,000
//! messages, read by a warm consumer from so many messages before the end, 100 times each.
//!
//! `eval "$(tests/brokers/up kafka)"; cargo run -p hubplane-kafka --example read_back`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement ends where something is wrong, and prints"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{Channel, Driver, Outgoing, Position};
use hubplane_kafka::DRIVER;

const ALL: usize = 100_000;
const BATCH: usize = 1_000;
const TIMES: usize = 100;

#[tokio::main]
async fn main() {
    let broker = std::env::var("HUBPLANE_TEST_KAFKA").unwrap();
    let address = format!(
        "{broker}?topic=read-back-{}&partitions=1",
        std::process::id()
    );
    let opened = DRIVER.open(&address.parse().unwrap()).await.unwrap();
    let (backplane, mut events) = (opened.backplane, opened.events);
    let reader = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let channel: Channel = "c".into();
    for _ in 0..ALL / BATCH {
        let one = Outgoing::new(Arc::clone(&channel), vec![b'x'; 128]);
        for receipt in backplane.publish(vec![one; BATCH]).await {
            receipt.unwrap();
        }
    }
    let history = backplane.history().unwrap();
    let upto = history.read(&channel, None, ALL).await.unwrap().upto;
    let end = upto.unwrap();
    for back in [0, 1, 1_000, 10_000] {
        let offset = end.offset - back as u128;
        let after = Some(Position { offset, ..end });
        let mut took = Vec::new();
        for _ in 0..TIMES {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let start = Instant::now();
            let page = history.read(&channel, after, ALL).await.unwrap();
            took.push(start.elapsed().as_micros());
            assert_eq!(page.publications.len(), back);
        }
        took.sort_unstable();
        let (middle, late) = (took[TIMES / 2], took[TIMES * 99 / 100]);
        println!("{back:>6} messages: p50 {middle} µs, p99 {late} µs");
    }
    backplane.close().await;
    reader.await.unwrap();
}
