//! Publishing in batches to channels that nobody subscribes: what the way to the broker takes.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::{DATA, Failure, answer, process::Hub};

/// Messages of one request: the hub's limit.
const BATCH: usize = 1_000;
/// Requests at a time: four batches of this size are what may wait for the broker.
const CONNECTIONS: usize = 4;

/// Accepted messages a second.
pub(crate) async fn publish(hub: &Hub, length: Duration) -> Result<(), Failure> {
    let message = |n: usize| {
        let data = "x".repeat(DATA);
        format!("{{\"channel\":\"batch.{}\",\"data\":\"{data}\"}}", n % 500)
    };
    let messages: Vec<_> = (0..BATCH).map(message).collect();
    let body = format!("{{\"messages\":[{}]}}", messages.join(","));
    let request = format!(
        "POST /v1/publish HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        hub.address,
        body.len()
    );
    let (cpu, begun) = (hub.cpu()?, Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, request) = (hub.address, request.clone());
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            let mut accepted = 0;
            while begun.elapsed() < length {
                stream.write_all(request.as_bytes()).await?;
                let results = answer(&mut stream).await?;
                if results.contains("\"error\"") {
                    return Err(format!("refused: {results}").into());
                }
                accepted += BATCH;
            }
            Ok::<_, Failure>(accepted)
        });
    }
    let mut accepted = 0;
    while let Some(done) = tasks.join_next().await {
        accepted += done??;
    }
    let elapsed = begun.elapsed().as_secs_f64();
    println!(
        "published in batches of {BATCH}, {CONNECTIONS} requests at a time: {:.0} messages/s, {:.2} CPU-us each",
        accepted as f64 / elapsed,
        hub.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e6 / accepted as f64
    );
    Ok(())
}
