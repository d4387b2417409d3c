//! `hubplane serve`.

use std::{fs, io::IsTerminal, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use hubplane_backplane::{Driver, ErrorKind, Opened};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::LocalSet,
    time::{Instant, sleep},
};
use tracing_subscriber::EnvFilter;

use super::config::{DRAIN, File};
use super::{Failure, print};
use crate::backends;
use hubplane_hub::limits::parse_duration;
use hubplane_hub::{Hub, MOST_SHARDS, Setup};
use hubplane_identity::{Access, Key};
use hubplane_server::{Server, Shards};

/// Between two tries to reach the broker at the start.
const RETRY: Duration = Duration::from_millis(500);
/// How long the start waits for this instance to hear itself through the broker.
const FIRST_BEACON: Duration = Duration::from_secs(15);

/// One instance of the hub.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "HUBPLANE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The broker: memory:, redis://…, kafka://…, amqp://…; `hubplane backends` shows what each promises
    /// [default: memory:]
    #[arg(long, env = "HUBPLANE_BACKPLANE", value_name = "ADDRESS")]
    backplane: Option<String>,
    /// On SIGTERM, end the clients' connections evenly over this time [default: 25s]
    #[arg(long, env = "HUBPLANE_DRAIN", value_name = "DURATION", value_parser = duration)]
    drain: Option<Duration>,
    /// Wait so long for a broker that can't be reached at the start, such as 30s; without, end at once
    #[arg(long, env = "HUBPLANE_WAIT", value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// This instance's name [default: the host's name and the port]
    #[arg(long, env = "HUBPLANE_NODE", value_name = "NAME")]
    node: Option<String>,
    /// A TOML file with these options and the limits
    #[arg(long, env = "HUBPLANE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the key (32 bytes or more) that publishers show as `Authorization: Bearer`
    #[arg(long, env = "HUBPLANE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Listen beyond loopback without a key: whoever reaches the port may publish
    #[arg(long, env = "HUBPLANE_INSECURE")]
    insecure: bool,
    /// An origin whose pages may connect, such as `https://app.example`; * for all [default: the hub's own host]
    #[arg(
        long = "origin",
        env = "HUBPLANE_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    origins: Vec<String>,
    /// Threads that serve sockets, 64 at most; a single one does the broker's work, too [default: one a core]
    #[arg(long, env = "HUBPLANE_SHARDS", value_name = "N")]
    shards: Option<usize>,
    /// What to log, such as debug or hubplane=debug
    #[arg(
        long,
        env = "HUBPLANE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        log_to_stderr(&self.log)?;
        let file = match &self.config {
            Some(path) => read_config(path)?,
            None => File::default(),
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::failed)?;
        LocalSet::new().block_on(&runtime, self.serve(file))
    }

    async fn serve(self, file: File) -> Result<(), Failure> {
        let listen = self
            .listen
            .or(file.listen)
            .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        let backplane = self
            .backplane
            .or(file.backplane)
            .unwrap_or_else(|| "memory:".to_owned());
        let key = match self.key_file.or(file.key_file) {
            Some(path) => Some(Key::from_file(&path).map_err(Failure::wrong)?),
            None => None,
        };
        let listener = TcpListener::bind(&listen)
            .await
            .map_err(|error| Failure::wrong(format!("can't listen on {listen}: {error}")))?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let insecure = self.insecure || file.insecure.unwrap_or_default();
        refuse_open_door(address, key.is_some() || insecure)?;
        let origins = if self.origins.is_empty() {
            file.origins.unwrap_or_default()
        } else {
            self.origins
        };
        if origins.iter().any(|origin| origin == "*") {
            tracing::warn!("pages of every origin may connect (--origin '*')");
        }
        let drain = self.drain.or(file.drain).unwrap_or(DRAIN);
        let wait = self.wait.unwrap_or_default();
        let (driver, opened) = reached(&backplane, wait).await?;
        let node = self
            .node
            .or(file.node)
            .unwrap_or_else(|| default_node(address));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shards = self
            .shards
            .or(file.shards)
            .unwrap_or(cores)
            .clamp(1, MOST_SHARDS);
        let setup = Setup {
            node,
            driver,
            limits: file.limits,
            shards,
        };
        let (hub, mailboxes) = Hub::start(opened, setup);
        let access = Arc::new(Access { key, origins });
        // Before anything is waited for: mail that nobody takes would hold up all that the broker sends.
        let started = match shards {
            1 => Ok(Shards::start_here(&hub, mailboxes, &access)),
            _ => Shards::start(&hub, mailboxes, &access),
        };
        if !hub.heard(FIRST_BEACON).await {
            tracing::warn!(
                "what this instance publishes has not come back yet; /ready says no until it does"
            );
        }
        let server = started
            .and_then(|shards| Server::start(shards, listener))
            .map_err(Failure::failed)?;
        // Before anybody is told that there is something to end.
        let mut signals = Signals::catch()?;
        print(format_args!("listening on http://{address}"))?;
        signals.next().await;
        tracing::info!(?drain, "stopping; a second signal ends at once");
        tokio::select! {
            () = server.stop(drain) => Ok(()),
            () = signals.next() => {
                Err(Failure::failed("ended by a second signal, before all clients were told"))
            }
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write 250ms, 25s or 5m".to_owned())
}

/// Opens the backplane, as often as it takes while its broker can't be reached.
async fn reached(address: &str, wait: Duration) -> Result<(&'static dyn Driver, Opened), Failure> {
    let end = Instant::now() + wait;
    loop {
        match backends::open(address).await {
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < end => {
                tracing::warn!(%error, "the broker can't be reached; trying again");
                sleep(RETRY).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Without authentication nobody but this machine is let in by accident.
fn refuse_open_door(address: SocketAddr, allowed: bool) -> Result<(), Failure> {
    if address.ip().is_loopback() || allowed {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "{address} can be reached from other machines, and whoever reaches it could publish: give --key-file FILE, \
         or --insecure if that is what you want"
    )))
}

fn read_config(path: &PathBuf) -> Result<File, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::wrong(format!("the configuration {}: {error}", path.display()))
    })?;
    File::parse(&text)
        .map_err(|error| Failure::wrong(format!("the configuration {}: {error}", path.display())))
}

fn default_node(address: SocketAddr) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!(
        "{}:{}",
        if host.is_empty() { "hub" } else { host },
        address.port()
    )
}

pub(super) fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::wrong(format!("--log {filter}: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// SIGINT and SIGTERM, caught from here on.
pub(super) struct Signals(Signal, Signal);

impl Signals {
    pub(super) fn catch() -> Result<Self, Failure> {
        let caught = |kind| signal(kind).map_err(Failure::failed);
        let interrupt = caught(SignalKind::interrupt())?;
        Ok(Self(interrupt, caught(SignalKind::terminate())?))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
