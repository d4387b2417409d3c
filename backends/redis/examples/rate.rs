//! How many messages a second this backend publishes, in batches and singly, and how many arrive.
//!
//! `cargo run --release -p hubplane-redis --example rate -- redis://127.0.0.1:6379 [seconds] [bytes]`

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{Backplane, Driver, Event, Outgoing};
use hubplane_redis::DRIVER;

/// Tasks that publish at the same time, each waiting for its receipts.
const PUBLISHERS: usize = 8;

#[tokio::main]
async fn main() {
    let mut arguments = env::args().skip(1);
    let address = arguments
        .next()
        .expect("an address, such as redis://127.0.0.1:6379");
    let seconds = arguments
        .next()
        .map_or(3, |text| text.parse().expect("seconds"));
    let bytes = arguments
        .next()
        .map_or(256, |text| text.parse().expect("bytes"));
    for batch in [256, 16, 1] {
        run(&address, Duration::from_secs(seconds), bytes, batch).await;
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
async fn run(address: &str, time: Duration, bytes: usize, batch: usize) {
    let address = address.parse().expect("an address");
    let mut opened = DRIVER.open(&address).await.expect("opens");
    opened
        .backplane
        .subscribe(&["rate".into()])
        .await
        .expect("subscribes");
    let start = Instant::now();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| tokio::spawn(publish(Arc::clone(&opened.backplane), time, bytes, batch)))
        .collect();
    let received = tokio::spawn(async move {
        let (mut count, mut last) = (0, start);
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_secs(2), opened.events.recv()).await
        {
            match event {
                Event::Published(all) => count += all.len(),
                event => println!("  {event:?}"),
            }
            last = Instant::now();
        }
        (count, last)
    });
    let mut sent = 0;
    for publisher in publishers {
        sent += publisher.await.expect("no panic");
    }
    let took = start.elapsed().as_secs_f64();
    let (count, last) = received.await.expect("no panic");
    println!(
        "{PUBLISHERS} publishers, calls of {batch:3}: {sent:8} published, {:7.0}/s; {count:8} received, {:7.0}/s",
        sent as f64 / took,
        count as f64 / last.duration_since(start).as_secs_f64(),
    );
}

async fn publish(
    backplane: Arc<dyn Backplane>,
    time: Duration,
    bytes: usize,
    batch: usize,
) -> usize {
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        let messages = (0..batch)
            .map(|_| Outgoing::new("rate", vec![b'x'; bytes]))
            .collect();
        let results = backplane.publish(messages).await;
        sent += results.iter().filter(|result| result.is_ok()).count();
    }
    sent
}
