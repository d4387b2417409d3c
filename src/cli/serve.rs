//! `hubplane serve`: one instance of the hub, from its options to its end.
//!
//! Brings the parts together: options and file, backend, hub, shards, listener, signals. What a limit means and how a hub ends
//! its sessions is decided in the crates; this file only says when.

mod door;
mod issuers;
mod listener;
mod tls;

use std::{fs, io::IsTerminal, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use clap::builder::BoolishValueParser;
use hubplane_backplane::{Driver, ErrorKind, Opened, parse_duration};
use tokio::{
    runtime,
    signal::unix::Signal,
    task::LocalSet,
    time::{Instant, sleep},
};
use tracing_subscriber::EnvFilter;

use super::config::{DRAIN, File};
use super::{
    Failure,
    files::connections_that_fit,
    print,
    signals::{Signals, hangup},
};
use crate::backends;
use door::{Door, reload_keys};
use hubplane_hub::{Hub, MOST_SHARDS, Setup};
use hubplane_identity::Access;
use hubplane_server::{Mounts, Server, Shards, TrustedProxies};
pub(super) use issuers::TokenConfig;
pub(super) use listener::listen_on;
use listener::refuse_open_door;

/// The pause between two attempts to reach the broker at the start.
const RETRY: Duration = Duration::from_millis(500);
/// How long the start waits until what this instance publishes comes back from the broker. Then it starts all the same: /ready
/// says no until it comes back.
const FIRST_BEACON: Duration = Duration::from_secs(15);

/// Run one instance of the hub.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Address and port to listen on; with port 0 the system chooses a free port [default: 127.0.0.1:8080]
    #[arg(long, env = "HUBPLANE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the broker: memory:, redis://…, kafka://…, amqp://…; `hubplane backends` lists what each promises
    /// [default: memory:]
    #[arg(long, env = "HUBPLANE_BACKPLANE", value_name = "ADDRESS")]
    backplane: Option<String>,
    /// Time over which a stopping hub (SIGTERM) spreads the ends of its clients' connections [default: 25s]
    #[arg(long, env = "HUBPLANE_DRAIN", value_name = "DURATION", value_parser = parse_duration)]
    drain: Option<Duration>,
    /// On SIGTERM, how long `/ready` says no and connections are still taken before the clients' connections end; for
    /// balancers that take notice late [default: 0s]
    #[arg(long, env = "HUBPLANE_DRAIN_DELAY", value_name = "DURATION", value_parser = parse_duration)]
    drain_delay: Option<Duration>,
    /// How long to wait at startup for a broker that can't be reached, such as 30s; by default, exit at once
    #[arg(long, env = "HUBPLANE_WAIT", value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Name of this instance, for logs and metrics [default: host name and port]
    #[arg(long, env = "HUBPLANE_NODE", value_name = "NAME")]
    node: Option<String>,
    /// TOML file with these options and the limits
    #[arg(long, env = "HUBPLANE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    door: Door,
    /// Allow listening beyond this machine without a key: anyone who reaches the port can publish
    #[arg(long, env = "HUBPLANE_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,
    /// PEM file with the certificate for TLS (https, wss): the hub's own first, then its authorities'; needs --tls-key. Read
    /// again when it changes
    #[arg(long, env = "HUBPLANE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key, without a passphrase
    #[arg(long, env = "HUBPLANE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Network of proxies whose X-Forwarded-For says who the client is, such as 10.0.0.0/8; give it several times. The
    /// header of all others is ignored [default: none]
    #[arg(
        long,
        env = "HUBPLANE_TRUST_PROXY",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    trust_proxy: Vec<String>,
    /// Number of threads that serve sockets, from 1 to 64; a single one does the broker's work as well
    /// [default: one for each core]
    #[arg(long, env = "HUBPLANE_SHARDS", value_name = "N")]
    shards: Option<usize>,
    /// What to log: error, warn, info, debug or trace, or a filter such as hubplane=debug
    #[arg(
        long,
        env = "HUBPLANE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
}

impl Serve {
    /// Runs the hub until a signal ends it. The failure has code 2 if the options or the file are wrong.
    pub(super) fn run(self) -> Result<(), Failure> {
        // The log first: even reading the configuration may have something to say.
        log_to_stderr(&self.log)?;
        let file = match &self.config {
            Some(path) => read_config(path)?,
            None => File::default(),
        };
        // One thread for the broker's work; each shard brings its own.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::failed)?;
        let ended = LocalSet::new().block_on(&runtime, self.until_signalled(file));
        // A look-up of a name, or a thread of a client library, must not keep a process alive that has stopped.
        runtime.shutdown_background();
        ended
    }

    /// Starts the hub, and stops it when a signal comes, even during the start. A second signal ends it at once.
    async fn until_signalled(self, file: File) -> Result<(), Failure> {
        // Caught before anything slow, so that a signal during the start is not lost.
        let mut signals = Signals::catch()?;
        let hangup = hangup()?;
        let delay = self.drain_delay.or(file.drain_delay).unwrap_or_default();
        let drain = self.drain.or(file.drain).unwrap_or(DRAIN);
        let server = tokio::select! {
            // Biased, so that a hub that is told to stop does not finish its start.
            biased;
            () = signals.next() => {
                tracing::info!("stopped before it was ready");
                return Ok(());
            }
            server = self.start(file, hangup) => server?,
        };
        signals.next().await;
        tracing::info!(?delay, ?drain, "stopping; a second signal ends at once");
        let stopped = async {
            // `/ready` says no at once; connections are still taken until the delay is over.
            server.hub().set_stopping();
            sleep(delay).await;
            server.stop(drain).await;
        };
        // Two signals are an order to end now, whatever is left undone (exit code 1).
        tokio::select! {
            () = stopped => Ok(()),
            () = signals.next() => {
                Err(Failure::failed("ended by a second signal, before all clients were told"))
            }
        }
    }

    /// Starts the hub, and prints where it listens once its own messages come back from the broker. Checks everything that
    /// the user may have got wrong before it touches the broker.
    async fn start(self, mut file: File, hangup: Signal) -> Result<Server, Failure> {
        let door = self.door.check(&mut file)?;
        let listen = given(self.listen, file.listen).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        let backplane =
            given(self.backplane, file.backplane).unwrap_or_else(|| "memory:".to_owned());
        let tls = tls::certificate(
            self.tls_cert.or(file.tls_cert),
            self.tls_key.or(file.tls_key),
        )?;
        let proxies = TrustedProxies::parse(&given_list(self.trust_proxy, file.trust_proxy))
            .map_err(Failure::wrong)?;
        let shards = shards(self.shards.or(file.shards))?;
        // The port before the broker: whoever starts a second hub by mistake learns it at once.
        let listener = listen_on(&listen).await?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let insecure = self.insecure || file.insecure.unwrap_or_default();
        refuse_open_door(address, door.knows_somebody() || insecure)?;
        let only_local = !door.knows_somebody() && address.ip().is_loopback();
        let access = door.access(only_local)?;
        let wait = self.wait.unwrap_or_default();
        // From here on, mistakes of the user are behind us; what fails now is the broker or the
        // system.
        let (driver, opened) = reached(&backplane, wait).await?;
        // The port belongs to the name, since several hubs may run on one machine.
        let node = given(self.node, file.node).unwrap_or_else(|| default_node(address));
        let mut limits = file.limits;
        // May be lowered; the hub says so in its log.
        limits.connections = connections_that_fit(limits.connections);
        let setup = Setup {
            node,
            driver,
            limits,
            shards,
        };
        let (hub, mailboxes) = Hub::start(opened, setup)?;
        tokio::spawn(reload_keys(Arc::clone(&access)));
        // Keys of issuers are fetched as long as this exists, so as long as the runtime.
        let fetching = access.fetch_keys();
        tokio::spawn(async move {
            let _fetching = fetching;
            std::future::pending::<()>().await;
        });
        // Before waiting for anything: if nobody took the shards' mail, all that the broker sends would wait for it.
        let started = match shards {
            1 => Ok(Shards::start_here(
                &hub,
                mailboxes,
                &access,
                &Mounts::default(),
            )),
            _ => Shards::start(&hub, mailboxes, &access, &Mounts::default()),
        };
        if !hub.heard(FIRST_BEACON).await {
            tracing::warn!(
                "what this instance publishes has not come back yet; /ready says no until it does"
            );
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = started
            .inspect(|shards| shards.trust_proxies(proxies))
            .and_then(|shards| tls::start(shards, listener, tls, hangup))
            .map_err(Failure::failed)?;
        print(format_args!("listening on {scheme}://{address}"))?;
        Ok(server)
    }
}

/// Opens the backplane. While its broker can't be reached, tries again for as long as `wait` says; other errors end it at once.
async fn reached(address: &str, wait: Duration) -> Result<(&'static dyn Driver, Opened), Failure> {
    let end = Instant::now() + wait;
    loop {
        match backends::open(address).await {
            // Only `Unavailable` may pass by itself; a wrong password does not.
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < end => {
                tracing::warn!(%error, "the broker can't be reached; trying again");
                sleep(RETRY).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Returns the option if it is given, or else the file's. An empty text is the same as none.
fn given(option: Option<String>, file: Option<String>) -> Option<String> {
    // Compose files and charts leave variables that are set but empty.
    let text = |it: String| Some(it.trim().to_owned()).filter(|it| !it.is_empty());
    option.and_then(text).or_else(|| file.and_then(text))
}

/// Returns the options if there are some, or else the file's. Empty texts do not count.
fn given_list(options: Vec<String>, file: Option<Vec<String>>) -> Vec<String> {
    let written = |all: Vec<String>| -> Vec<_> {
        all.into_iter().filter(|it| !it.trim().is_empty()).collect()
    };
    let texts = written(options);
    match texts.is_empty() {
        true => written(file.unwrap_or_default()),
        false => texts,
    }
}

/// Returns the number of shards: as given, or one for each core.
fn shards(given: Option<usize>) -> Result<usize, Failure> {
    match given {
        // More threads than [`MOST_SHARDS`] only hand messages to each other.
        None => Ok(thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_SHARDS))),
        Some(number) if (1..=MOST_SHARDS).contains(&number) => Ok(number),
        Some(number) => Err(Failure::wrong(format!(
            "--shards {number}: it may be from 1 to {MOST_SHARDS}"
        ))),
    }
}

/// Reads and checks the configuration file. The error names it, and shows none of its values.
fn read_config(path: &PathBuf) -> Result<File, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::wrong(format!("the configuration {}: {error}", path.display()))
    })?;
    File::parse(&text)
        .map_err(|error| Failure::wrong(format!("the configuration {}: {error}", path.display())))
}

/// Returns what a hub with this configuration and no other options lets in.
pub(super) fn access_of(config: &PathBuf) -> Result<Arc<Access>, Failure> {
    let mut file = read_config(config)?;
    // No options: their variables may be those of a client.
    Door::default().check(&mut file)?.access(false)
}

/// Returns a name that tells this instance from others: the host's name and the port.
fn default_node(address: SocketAddr) -> String {
    // A host without a name is still told from others by its port.
    let host = gethostname::gethostname();
    let host = host.to_string_lossy();
    format!(
        "{}:{}",
        if host.is_empty() { "hub" } else { &*host },
        address.port()
    )
}

/// Sends the log of the whole process to standard error; may be called once only.
///
/// # Errors
///
/// The filter can't be read.
///
/// # Panics
///
/// Another logger is set already.
pub(super) fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(log_filter(filter)?)
        .with_writer(std::io::stderr)
        // No colours in a file or a pipe.
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// What `--log` asks for. Of two directives for one target the later counts, so it can ask for what is left out here.
fn log_filter(asked: &str) -> Result<EnvFilter, Failure> {
    let left_out = backends::LOG_FILTERS.iter().copied();
    // The user's directives come last, as the later of two counts.
    let all: Vec<_> = left_out.chain([asked]).collect();
    EnvFilter::try_new(all.join(","))
        .map_err(|error| Failure::wrong(format!("--log {asked}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_libraries_are_logged_only_where_they_are_asked_for() {
        // What is left out by default must come back by naming the library.
        for left_out in backends::LOG_FILTERS {
            let shown = |asked: &str| match log_filter(asked) {
                Ok(filter) => filter.to_string(),
                Err(_) => panic!("{asked} is a filter"),
            };
            assert!(shown("info").contains(left_out), "{left_out}");
            let library = left_out.trim_end_matches("=off");
            let asked = shown(&format!("info,{library}=debug"));
            assert!(!asked.contains(left_out), "{asked}");
        }
        assert!(log_filter("no=such=filter").is_err());
    }
}
