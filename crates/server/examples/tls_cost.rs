//! What TLS costs a hub: CPU time a delivery and memory a waiting connection, with it and without.
//!
//! `ulimit -n 20000; cargo run --release -p hubplane-server --features tls --example tls_cost`
//!
//! It starts itself as a hub on `memory:` with one shard, first without TLS and then with it, and
//! reads the operating system's own accounting of that process. The clients are in this one, so
//! what decrypting costs them is not counted. Both figures are of one run: compare them with each
//! other only.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write, stdin},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hubplane_backplane::{Driver, Outgoing};
use hubplane_hub::{Hub, Limits, Setup};
use hubplane_server::{Mounts, Server, Shards, Tls};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_rustls::TlsConnector;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Subscribers of the fan-out.
const SUBSCRIBERS: usize = 300;
/// Connections that wait.
const WAITING: usize = 2_000;
/// What is published: a name, bytes of data, messages at once, and how often.
const FAN_OUTS: [(&str, usize, usize, usize); 3] = [
    ("128 bytes, one at a time", 128, 1, 1_000),
    ("128 bytes, 16 at a time", 128, 16, 400),
    ("4 KiB, 4 at a time", 4_096, 4, 200),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let folder = env::temp_dir().join("hubplane-tls-cost");
    if let Some(kind) = env::args().nth(1) {
        return serve(kind == "tls", &folder).await;
    }
    fs::create_dir_all(&folder)?;
    let connector = connector(&folder)?;
    let mut all = Vec::new();
    for connector in [None, Some(connector)] {
        all.push(measured(connector).await?);
    }
    for (plain, tls) in all[0].iter().zip(&all[1]) {
        let (name, plain, tls) = (&plain.0, plain.1, tls.1);
        println!("{name}: {plain:.2} without TLS, {tls:.2} with it");
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Starts a hub and measures it.
async fn measured(tls: Option<TlsConnector>) -> Result<Vec<(String, f64)>, Failure> {
    let mut hub = Process::start(if tls.is_some() { "tls" } else { "plain" })?;
    let mut figures = Vec::new();
    let got = Arc::new(AtomicU64::new(0));
    for _ in 0..SUBSCRIBERS {
        subscribe(hub.address, "load", tls.as_ref(), &got).await?;
    }
    let mut expected = 0;
    for (name, bytes, burst, times) in FAN_OUTS {
        // Once to get warm.
        for (is_warm, times) in [(false, times / 10), (true, times)] {
            let before = hub.cpu()?;
            let deliveries = (SUBSCRIBERS * burst * times) as u64;
            for _ in 0..times {
                // The next one waits until the clients have this one: otherwise, what they have
                // not read yet would fill the machine's caches.
                expected += (SUBSCRIBERS * burst * bytes) as u64;
                hub.publish(bytes, burst)?;
                while got.load(Ordering::Relaxed) < expected {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            if is_warm {
                let micros = (hub.cpu()? - before).as_secs_f64() * 1e6;
                figures.push((
                    format!("{name}, CPU-us a delivery"),
                    micros / deliveries as f64,
                ));
            }
        }
    }
    drop(hub);
    let hub = Process::start(if tls.is_some() { "tls" } else { "plain" })?;
    for number in 0..WAITING {
        if number == WAITING / 4 {
            sleep(Duration::from_secs(1)).await;
            figures.push((String::new(), hub.resident()?));
        }
        subscribe(hub.address, &format!("own.{number}"), tls.as_ref(), &got).await?;
    }
    sleep(Duration::from_secs(1)).await;
    let (_, before) = figures.pop().unwrap_or_default();
    let each = (hub.resident()? - before) / (WAITING * 3 / 4) as f64;
    figures.push(("bytes a waiting connection".to_owned(), each));
    Ok(figures)
}

/// Opens a WebSocket and counts the bytes of data that come.
async fn subscribe(
    address: SocketAddr,
    channel: &str,
    tls: Option<&TlsConnector>,
    got: &Arc<AtomicU64>,
) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    match tls {
        None => listen(stream, channel, Arc::clone(got)).await,
        Some(connector) => {
            let stream = connector.connect("localhost".try_into()?, stream).await?;
            listen(stream, channel, Arc::clone(got)).await
        }
    }
}

async fn listen<S>(mut stream: S, channel: &str, got: Arc<AtomicU64>) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = format!(
        "GET /ws?channel={channel} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
         connection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 16 * 1024];
    // The answer and the greeting: both have come when the latter's end is there.
    let mut head = Vec::new();
    while !head.windows(10).any(|it| it == b"subscribed") {
        let count = stream.read(&mut buffer).await?;
        head.extend_from_slice(&buffer[..count]);
    }
    tokio::spawn(async move {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            // The data alone is of this letter.
            let data = buffer[..count].iter().filter(|byte| **byte == b'~').count();
            got.fetch_add(data as u64, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// A hub in a process of its own.
struct Process {
    child: Child,
    say: ChildStdin,
    address: SocketAddr,
}

impl Process {
    fn start(kind: &str) -> Result<Self, Failure> {
        let mut child = Command::new(env::current_exe()?)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (say, hear) = (child.stdin.take(), child.stdout.take());
        let mut hear = BufReader::new(hear.ok_or("no output")?);
        let mut line = String::new();
        hear.read_line(&mut line)?;
        Ok(Self {
            child,
            say: say.ok_or("no input")?,
            address: line.trim().parse()?,
        })
    }

    /// Has the hub publish.
    fn publish(&mut self, bytes: usize, burst: usize) -> Result<(), Failure> {
        writeln!(self.say, "{bytes} {burst}")?;
        Ok(())
    }

    /// CPU time of the hub's only thread so far.
    fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        let nanos = stat.split(' ').next().ok_or("no time")?.parse()?;
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident bytes.
    fn resident(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = row
            .ok_or("no row")?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kib * 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The hub: publishes what the lines of its input ask for, until they end.
async fn serve(with_tls: bool, folder: &Path) -> Result<(), Failure> {
    tokio::task::LocalSet::new()
        .run_until(async {
            let limits = Limits {
                outbox_bytes: 64 << 20,
                outbox_frames: 100_000,
                ..Limits::default()
            };
            let setup = Setup {
                node: "cost".to_owned(),
                driver: &hubplane_memory::DRIVER,
                limits,
                shards: 1,
            };
            let opened = hubplane_memory::DRIVER.open(&"memory:".parse()?).await?;
            let (hub, mailboxes) = Hub::start(opened, setup)?;
            let mounts = Mounts::default();
            let shards = Shards::start_here(&hub, mailboxes, &Arc::default(), &mounts);
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let server = match with_tls {
                false => Server::start(shards, listener)?,
                true => {
                    let tls = Tls::from_files(folder.join("crt"), folder.join("key"))?;
                    Server::start_tls(shards, listener, tls)?
                }
            };
            println!("{}", server.address());
            let (sender, mut lines) = tokio::sync::mpsc::channel(1);
            std::thread::spawn(move || {
                for line in stdin().lock().lines().map_while(Result::ok) {
                    _ = sender.blocking_send(line);
                }
            });
            while let Some(line) = lines.recv().await {
                let numbers: Vec<usize> = line.split(' ').flat_map(str::parse).collect();
                let [bytes, burst] = numbers[..] else {
                    return Err("two numbers".into());
                };
                let data = format!("\"{}\"", "~".repeat(bytes));
                let all = vec![Outgoing::new("load", data.clone()); burst];
                hub.publish(all)
                    .await
                    .map_err(|_overloaded| "too much waits")?;
            }
            Ok(())
        })
        .await
}

/// Makes a certificate for `localhost`, and clients that trust it.
fn connector(folder: &Path) -> Result<TlsConnector, Failure> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let pem = |label: &str, der: &[u8]| {
        let body = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    fs::write(folder.join("crt"), pem("CERTIFICATE", made.cert.der()))?;
    let key = made.signing_key.serialize_der();
    fs::write(folder.join("key"), pem("PRIVATE KEY", &key))?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
