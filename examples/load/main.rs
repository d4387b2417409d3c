//! What a delivery and a connection cost one hub, by the operating system's own accounting of the hub's process.
//!
//! `cargo build --release && ulimit -n 20000 && cargo run --release --example load [-- --quick] [ADDRESS]`
//!
//! It starts `hubplane serve` on `memory:` or the broker at the address, pinned to core 0 where `taskset` is there, itself on core 1, and prints CPU
//! time a delivery, writes a delivery, latencies, resident bytes a connection at 5,000, 10,000 and 15,000, and how many
//! messages a second it takes in batches. Beside it, in the same run, what
//! a bare `write` of a frame of the same size to as many sockets costs: nothing that writes once a delivery can
//! be cheaper.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod bare;
mod batches;
mod crowd;
mod latency;
mod process;

use std::{env, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval, sleep},
};

use bare::{bare, bare_sender};
use latency::Latencies;
use process::{Hub, pin};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SUBSCRIBERS: usize = 1_000;
/// The published data: with JSON's quotes 128 bytes.
const DATA: usize = 126;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "bare") {
        return bare_sender();
    }
    let seconds = if arguments.iter().any(|word| word == "--quick") {
        2
    } else {
        5
    };
    pin(std::process::id(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let backplane = arguments.iter().find(|word| !word.starts_with("--"));
    let backplane = backplane.map_or("memory:", String::as_str);
    runtime.block_on(run(backplane, Duration::from_secs(seconds)))
}

async fn run(backplane: &str, length: Duration) -> Result<(), Failure> {
    let hub = Hub::start(backplane)?;
    let latencies = Arc::new(Latencies::new());
    for _ in 0..SUBSCRIBERS {
        let socket = hub.subscribe("load").await?;
        tokio::spawn(listen(socket, Arc::clone(&latencies)));
    }
    println!("1 channel, {SUBSCRIBERS} subscribers, 128-byte messages, one hub:");
    let scenarios = [
        ("20/s", 20, 1),
        ("200/s", 200, 1),
        ("20 bursts/s of 10", 20, 10),
    ];
    measure(&hub, &latencies, (50, 1), Duration::from_secs(1)).await?;
    for (name, rate, burst) in scenarios {
        let Figures {
            cpu,
            writes,
            deliveries,
        } = measure(&hub, &latencies, (rate, burst), length).await?;
        let (p50, p99) = latencies.take();
        println!(
            "  {name:<18} {:>6.2} CPU-us/delivery  {:>5.3} writes/delivery  p50 {p50:>6} us  p99 {p99:>6} us  \
             {deliveries} deliveries",
            cpu.as_secs_f64() * 1e6 / deliveries as f64,
            writes as f64 / deliveries as f64,
        );
    }
    for rate in [20, 200] {
        println!(
            "  bare write, {rate}/s   {:>6.2} CPU-us/frame",
            bare(rate, length).await?
        );
    }
    drop(hub);
    crowd::waits(&Hub::start(backplane)?).await?;
    batches::publish(&Hub::start(backplane)?, length).await
}

struct Figures {
    cpu: Duration,
    writes: u64,
    deliveries: u64,
}

/// Publishes `burst` messages at once, `rate` times a second.
async fn measure(
    hub: &Hub,
    latencies: &Latencies,
    (rate, burst): (u32, usize),
    length: Duration,
) -> Result<Figures, Failure> {
    let mut publisher = TcpStream::connect(hub.address).await?;
    publisher.set_nodelay(true)?;
    latencies.take();
    let (cpu, writes) = (hub.cpu()?, hub.metric("writes_total").await?);
    let deliveries = hub.metric("deliveries_total").await?;
    let mut clock = interval(Duration::from_secs(1) / rate);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..(length.as_secs_f64() * f64::from(rate)) as usize {
        clock.tick().await;
        let message = format!(
            "{{\"channel\":\"load\",\"data\":\"{:0>DATA$}\"}}",
            latencies.now()
        );
        let body = format!("{{\"messages\":[{}]}}", vec![message; burst].join(","));
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            hub.address,
            body.len()
        );
        publisher.write_all(request.as_bytes()).await?;
        answer(&mut publisher).await?;
    }
    sleep(Duration::from_millis(200)).await;
    Ok(Figures {
        cpu: hub.cpu()?.saturating_sub(cpu),
        writes: hub.metric("writes_total").await? - writes,
        deliveries: hub.metric("deliveries_total").await? - deliveries,
    })
}

/// Reads one HTTP answer with a length.
async fn answer(stream: &mut TcpStream) -> Result<String, Failure> {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0");
            if body.len() >= length.parse::<usize>()? {
                return if head.starts_with("HTTP/1.1 200") {
                    Ok(body.to_owned())
                } else {
                    Err(text.into())
                };
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part).await? {
            0 => return Err("the hub closed the connection".into()),
            n => got.extend_from_slice(&part[..n]),
        }
    }
}

/// Reads frames and notes how old the messages in them are.
async fn listen(mut socket: TcpStream, latencies: Arc<Latencies>) {
    let mut got: Vec<u8> = Vec::new();
    let mut part = [0; 16 * 1024];
    while let Ok(n @ 1..) = socket.read(&mut part).await {
        got.extend_from_slice(&part[..n]);
        while let Some((start, end)) = server_frame(&got) {
            latencies.note(&got[start..end]);
            got.drain(..end);
        }
    }
}

/// Where the payload of the first frame begins and ends, if it is there in full.
fn server_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}
