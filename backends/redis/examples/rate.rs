//! Measures how many messages a second this backend publishes, beside single commands by the client
//! library alone, and how many arrive at an instance that listens. With `redis+streams://…` it
//! measures the second backend.
//!
//! `cargo run --release -p hubplane-redis --example rate -- redis://127.0.0.1:6379 [seconds]
//! [bytes]`
//!
//! The numbers are of one machine and one moment: compare only lines of the same run.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{Backplane, Driver, Event, Opened, Outgoing};
use hubplane_redis::{DRIVER, STREAMS_DRIVER};

/// Messages on their way at a time. The number of publishing tasks is this divided by the size of
/// their calls, so that every line of the output has the same load.
const OUTSTANDING: usize = 2_048;

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
    let time = Duration::from_secs(seconds);
    // The library alone can't be compared with a log: these commands store nothing.
    if !is_streams(&address) {
        for tasks in [1, 8, OUTSTANDING] {
            single_commands(&address, time, bytes, tasks).await;
        }
    }
    // By the size of the calls: a hub under load makes large ones.
    for batch in [1, 16, 256] {
        run(&address, time, bytes, batch, false).await;
    }
    run(&address, time, bytes, 16, true).await;
}

/// Returns true if the address is one of the second backend.
fn is_streams(address: &str) -> bool {
    address.contains("+streams:")
}

/// Measures what the client library does without pipelines, as the yardstick. For addresses without
/// TLS and without keys of ours, which the library doesn't know.
async fn single_commands(address: &str, time: Duration, bytes: usize, tasks: usize) {
    let plain = address.split('?').next().unwrap_or(address);
    let client = redis::Client::open(plain).expect("a plain address");
    let connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("connects");
    let start = Instant::now();
    // Clones of the library's connection share one socket.
    let publishers: Vec<_> = (0..tasks)
        .map(|_| {
            let (mut connection, data) = (connection.clone(), vec![b'x'; bytes]);
            tokio::spawn(async move {
                let mut sent = 0;
                while start.elapsed() < time {
                    let mut publish = redis::cmd("PUBLISH");
                    publish.arg("hubplane:rate").arg(&data);
                    publish
                        .exec_async(&mut connection)
                        .await
                        .expect("published");
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    report(
        &format!("single, {tasks} at a time"),
        start,
        total(publishers).await,
    );
}

/// Returns how many messages all tasks have published.
async fn total(publishers: Vec<tokio::task::JoinHandle<usize>>) -> usize {
    let mut sent = 0;
    for publisher in publishers {
        sent += publisher.await.expect("no panic");
    }
    sent
}

/// Prints one line: what was measured, the number of messages, and the rate since `start`.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn report(what: &str, start: Instant, count: usize) {
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{what:24} {count:8} messages {rate:8.0}/s");
}

/// Measures calls of `batch` messages through the backend; with `listen` also what comes back.
async fn run(address: &str, time: Duration, bytes: usize, batch: usize, listen: bool) {
    let driver: &dyn Driver = match is_streams(address) {
        true => &STREAMS_DRIVER,
        false => &DRIVER,
    };
    let address = address.parse().expect("an address");
    let opened = driver.open(&address).await.expect("opens");
    let Opened {
        backplane,
        mut events,
    } = opened;
    if listen {
        backplane
            .subscribe(&["rate".into()])
            .await
            .expect("subscribes");
    }
    let start = Instant::now();
    let publishers = (0..OUTSTANDING / batch)
        .map(|_| tokio::spawn(publish(Arc::clone(&backplane), time, bytes, batch)))
        .collect();
    // The events must be taken, or the backend stops reading.
    let receiving = tokio::spawn(async move {
        let (mut count, mut gaps) = (0, 0);
        while let Some(event) = events.recv().await {
            match event {
                Event::Published(all) => count += all.len(),
                Event::Gap { .. } => gaps += 1,
                _ => {}
            }
        }
        (count, gaps)
    });
    report(&format!("calls of {batch}"), start, total(publishers).await);
    // What was published last is still on its way; the second is taken out of the rate below.
    tokio::time::sleep(Duration::from_secs(u64::from(listen))).await;
    backplane.close().await;
    let (count, gaps) = receiving.await.expect("no panic");
    if listen {
        report(
            &format!("  received, {gaps} gaps"),
            start + Duration::from_secs(1),
            count,
        );
    }
}

/// Publishes one call after the other for `time`, and returns how many messages were acknowledged.
async fn publish(
    backplane: Arc<dyn Backplane>,
    time: Duration,
    bytes: usize,
    batch: usize,
) -> usize {
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        // A new batch each time: the backend takes the messages.
        let messages = (0..batch)
            .map(|_| Outgoing::new("rate", vec![b'x'; bytes]))
            .collect();
        let results = backplane.publish(messages).await;
        sent += results.iter().filter(|result| result.is_ok()).count();
    }
    sent
}
