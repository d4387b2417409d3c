//! What a delivery and a connection cost one hub, by the operating system's own accounting of the hub's process.
//!
//! `cargo build --release && cargo run --release --example load [-- --quick]`
//!
//! It starts `hubplane serve` on `memory:`, pinned to core 0 where `taskset` is there, itself on core 1, and prints CPU
//! time a delivery, writes a delivery, latencies, and resident bytes a connection. Beside it, in the same run, what
//! a bare `write` of a frame of the same size to as many sockets costs: nothing that writes once a delivery can
//! be cheaper.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SUBSCRIBERS: usize = 1_000;
const IDLE: usize = 5_000;
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
    runtime.block_on(run(Duration::from_secs(seconds)))
}

async fn run(length: Duration) -> Result<(), Failure> {
    let hub = Hub::start()?;
    let latencies = Arc::new(Latencies::new());
    for _ in 0..SUBSCRIBERS {
        let socket = hub.subscribe("load").await?;
        tokio::spawn(listen(socket, Arc::clone(&latencies)));
    }
    println!("1 channel, {SUBSCRIBERS} subscribers, 128-byte messages, one hub, memory:");
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

    let hub = Hub::start()?;
    let before = hub.resident()?;
    let mut idle = Vec::new();
    for i in 0..IDLE {
        idle.push(hub.subscribe(&format!("own.{i}")).await?);
    }
    sleep(Duration::from_secs(1)).await;
    let each = (hub.resident()? - before) / IDLE as u64;
    println!("{IDLE} idle connections, one channel each: {each} bytes resident a connection");
    Ok(())
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

/// Latencies in buckets of a twentieth of their size: enough for two digits.
struct Latencies {
    start: Instant,
    buckets: Vec<AtomicU64>,
}

impl Latencies {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            buckets: (0..600).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn note(&self, message: &[u8]) {
        let Some(at) = message
            .windows(8)
            .position(|window| window == b"\"data\":\"")
        else {
            return;
        };
        let digits = message[at + 8..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let sent = digits.fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let age = self.now().saturating_sub(sent).max(1) as f64;
        let bucket = (age.ln() / 1.05_f64.ln()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// p50 and p99 in microseconds since the last time.
    fn take(&self) -> (u64, u64) {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.swap(0, Ordering::Relaxed))
            .collect();
        let all: u64 = counts.iter().sum();
        let at = |share: f64| {
            let mut seen = 0;
            let bucket = counts.iter().position(|count| {
                seen += count;
                seen as f64 >= all as f64 * share
            });
            1.05_f64.powi(bucket.unwrap_or_default() as i32) as u64
        };
        (at(0.5), at(0.99))
    }
}

/// The hub under load, a process of its own.
struct Hub {
    process: Child,
    address: SocketAddr,
}

impl Hub {
    fn start() -> Result<Self, Failure> {
        let binary = env::current_exe()?
            .parent()
            .and_then(|dir| dir.parent())
            .ok_or("no directory")?
            .join("hubplane");
        if !binary.exists() {
            return Err(format!("{} is missing: cargo build --release", binary.display()).into());
        }
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .ok_or("the hub did not start")?
            .parse()?;
        pin(process.id(), 0);
        Ok(Self { process, address })
    }

    async fn subscribe(&self, channel: &str) -> Result<TcpStream, Failure> {
        let mut socket = TcpStream::connect(self.address).await?;
        let request = format!(
            "GET /ws?channel={channel} HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        socket.write_all(request.as_bytes()).await?;
        let mut got = Vec::new();
        while !got.windows(12).any(|window| window == b"\"subscribed\"") {
            let mut part = [0; 1024];
            match socket.read(&mut part).await? {
                0 => return Err(String::from_utf8_lossy(&got).into()),
                n => got.extend_from_slice(&part[..n]),
            }
        }
        Ok(socket)
    }

    async fn metric(&self, name: &str) -> Result<u64, Failure> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream
            .write_all(
                format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).as_bytes(),
            )
            .await?;
        let text = answer(&mut stream).await?;
        let row = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("hubplane_{name} ")));
        Ok(row.ok_or("no such metric")?.parse()?)
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        cpu(self.process.id())
    }

    fn resident(&self) -> Result<u64, Failure> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let row = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .ok_or("no Pss")?;
        Ok(row.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// CPU time of all threads of a process, in the scheduler's nanoseconds.
fn cpu(process: u32) -> Result<Duration, Failure> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text
            .split_whitespace()
            .next()
            .ok_or("no time")?
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Where there is no `taskset`, figures are of unpinned processes.
fn pin(process: u32, core: usize) {
    let arguments = ["-acp".to_owned(), core.to_string(), process.to_string()];
    _ = Command::new("taskset")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// CPU time of one bare write of a frame as large as the hub's.
async fn bare(rate: u32, length: Duration) -> Result<f64, Failure> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    let rounds = (length.as_secs_f64() * f64::from(rate)) as usize;
    let mut process = Command::new(env::current_exe()?)
        .args([
            "bare",
            &listener.local_addr()?.to_string(),
            &rate.to_string(),
            &rounds.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    pin(process.id(), 0);
    let (done, mut dones) = mpsc::channel::<()>(1);
    for _ in 0..SUBSCRIBERS {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let (mut stream, done) = (TcpStream::from_std(stream)?, done.clone());
        tokio::spawn(async move {
            let mut part = [0; 16 * 1024];
            while let Ok(1..) = stream.read(&mut part).await {}
            drop(done);
        });
    }
    drop(done);
    process.stdin.take().ok_or("no input")?.write_all(b"go\n")?;
    dones.recv().await;
    let mut line = String::new();
    process
        .stdout
        .take()
        .ok_or("no output")?
        .read_to_string(&mut line)?;
    process.wait()?;
    Ok(line.trim().parse()?)
}

/// The other side of [`bare`]: prints microseconds of its own CPU time a frame.
fn bare_sender() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(2).collect();
    let [address, rate, rounds] = &arguments[..] else {
        return Err("load bare ADDRESS RATE ROUNDS".into());
    };
    let (rate, rounds): (u32, usize) = (rate.parse()?, rounds.parse()?);
    let mut sockets = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let socket = StdStream::connect(address)?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    std::io::stdin().read_line(&mut String::new())?;
    // As large as the hub's frame: header, envelope and the data.
    let frame = [b'x'; 226];
    let before = cpu(std::process::id())?;
    let start = Instant::now();
    for round in 0..rounds {
        let due = start + Duration::from_secs(1) / rate * round as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for socket in &mut sockets {
            socket.write_all(&frame)?;
        }
    }
    let spent = cpu(std::process::id())?.saturating_sub(before);
    println!(
        "{:.3}",
        spent.as_secs_f64() * 1e6 / (rounds * SUBSCRIBERS) as f64
    );
    Ok(())
}
