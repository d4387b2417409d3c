//! Where the load goes: hubs that run already, or processes of this program, started for one measurement.
//!
//! A hub is a process of its own, so that its CPU time and memory can be told from the load's. Each measurement has new ones:
//! what an earlier one has left in a hub's memory must not change the next.

use std::{
    fmt,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use hubplane_backplane::Address;

use super::system;

/// How long a hub may take to say that it listens.
///
/// A hub waits for its broker before it listens, and a Kafka log may be long.
const START: Duration = Duration::from_secs(40);
/// How long hubs may take to end; then they are killed.
const END: Duration = Duration::from_secs(5);

/// Checks that a running hub can be measured at this address. Does not connect to it.
///
/// # Errors
/// A sentence that says how to write it.
pub fn check(url: &str) -> Result<(), String> {
    HubAddress::parse(url, None).map(drop)
}

/// Where clients reach a hub.
#[derive(Clone)]
pub(super) struct HubAddress {
    /// Host and port.
    pub(super) authority: String,
    /// The publishers' key; never shown, see `Debug`.
    key: Option<String>,
}

/// The hubs of one measurement.
#[derive(Clone, Debug)]
pub(super) struct Target {
    // At least one, or the load has nowhere to go.
    pub(super) hubs: Vec<HubAddress>,
}

/// Hubs that were started here, ended when dropped.
#[derive(Debug)]
pub(super) struct Hubs {
    /// In the order of `target`; also those that were killed.
    processes: Vec<Child>,
    pub(super) target: Target,
}

impl HubAddress {
    /// Reads `http://HOST:PORT`; the port is 80 if none is given. `key` is what publishers show. The error is a sentence
    /// that says how to write it.
    pub(super) fn parse(url: &str, key: Option<&str>) -> Result<Self, String> {
        // No https: the load writes to the socket itself, and would measure the encryption, too.
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            // A path is refused, since the load asks for fixed ones.
            .filter(|rest| !rest.is_empty() && !rest.contains('/'));
        let Some(authority) = authority else {
            return Err(format!(
                "{url}: a hub's address is http://HOST:PORT; for https, bench the hub behind the proxy"
            ));
        };
        // An IPv6 address stands in brackets, so what follows its last colon is a number only if it
        // is the port.
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => "",
            _ => ":80",
        };
        Ok(Self {
            authority: format!("{authority}{port}"),
            key: key.map(str::to_owned),
        })
    }

    /// Returns the header line with the key, line end included; empty without a key.
    pub(super) fn authorization(&self) -> String {
        // RFC 6750, section 2.1.
        let line = |key| format!("authorization: Bearer {key}\r\n");
        self.key.as_ref().map(line).unwrap_or_default()
    }
}

impl fmt::Debug for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubAddress")
            .field("authority", &self.authority)
            // That there is a key may be seen, the key never.
            .field("key", &self.key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl Hubs {
    /// Starts `many` processes of a program on one backend, on the cores given as `taskset` takes them. Returns when all
    /// listen. An error if one does not start within 40 s; those that were started end then.
    ///
    /// Each listens on a port of 127.0.0.1 that the operating system chooses, so several runs don't
    /// meet.
    pub(super) fn start(
        program: &Path,
        backplane: &str,
        many: usize,
        cores: Option<&str>,
    ) -> io::Result<Self> {
        let mut hubs = Self {
            processes: Vec::new(),
            target: Target { hubs: Vec::new() },
        };
        let mut lines = Vec::new();
        // All are started before any is waited for: they come up side by side.
        for n in 0..many {
            // Pinned from its first moment: a hub counts its cores when it starts.
            let mut command = match cores {
                Some(cores) => system::pinned(program, cores),
                None => Command::new(program),
            };
            let mut process = command
                // Not as an argument, which every user of the machine can see: an address may hold a
                // password.
                .env("HUBPLANE_BACKPLANE", backplane)
                .args([
                    "serve",
                    // Without a drain: nobody needs these hubs' clients to leave in peace.
                    "--listen",
                    "127.0.0.1:0",
                    "--log",
                    "warn",
                    "--drain",
                    "0s",
                ])
                .args(["--node", &format!("bench-{n}")])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            lines.push(listening(&mut process));
            hubs.processes.push(process);
        }
        // The first that fails drops `hubs`, which ends all others.
        for line in lines {
            let url = line.recv_timeout(START).map_err(|_late| {
                io::Error::other(format!("a hub did not start within {} s", START.as_secs()))
            })?;
            let url = url.map_err(io::Error::other)?;
            let hub = HubAddress::parse(&url, None).map_err(io::Error::other)?;
            hubs.target.hubs.push(hub);
        }
        Ok(hubs)
    }

    /// Kills the first hub with SIGKILL, as a crash would.
    ///
    /// # Errors
    ///
    /// No hub was started here, or the operating system refuses.
    pub(super) fn kill_first(&mut self) -> io::Result<()> {
        let first = self.processes.first_mut();
        let first = first.ok_or_else(|| io::Error::other("no hub was started"))?;
        first.kill()?;
        // Waited for, so that the process does not stay as a zombie whose CPU time still counts.
        first.wait().map(drop)
    }

    /// Returns the ids of the processes, also of one that was killed.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(Child::id).collect()
    }
}

/// Returns where to read the hub's address once it takes connections, or why it ended. A thread reads both outputs.
fn listening(process: &mut Child) -> mpsc::Receiver<Result<String, String>> {
    // Room for one message: the thread must be able to speak and go on, even if nobody listens.
    let (said, line) = mpsc::sync_channel(1);
    let (out, error) = (process.stdout.take(), process.stderr.take());
    thread::spawn(move || {
        let mut first = String::new();
        if let Some(out) = out {
            // An end without a line is told below.
            _ = BufReader::new(out).read_line(&mut first);
        }
        // The words are those that `serve` prints; its tests hold it to them.
        if let Some(url) = first.trim().strip_prefix("listening on ") {
            _ = said.send(Ok(url.to_owned()));
        }
        // Read to its end: a hub that can't write its log would stand still when the pipe is full.
        let lines = error.map(|error| BufReader::new(error).lines());
        let last = lines.into_iter().flatten().map_while(Result::ok).last();
        // `try_send`: after a good start the place is taken, and this is dropped.
        _ = said.try_send(Err(
            last.unwrap_or_else(|| "a hub ended at its start".to_owned())
        ));
    });
    line
}

impl Drop for Hubs {
    fn drop(&mut self) {
        // All are asked first and awaited then, so that they end side by side.
        for process in &self.processes {
            system::terminate(process.id());
        }
        // The time is shared by all of them.
        let mut left = END;
        for process in &mut self.processes {
            // Polled, since the standard library can't wait for a child with a limit.
            while !matches!(process.try_wait(), Ok(Some(_)) | Err(_)) {
                if left.is_zero() {
                    _ = process.kill();
                    _ = process.wait();
                    break;
                }
                let nap = Duration::from_millis(10);
                thread::sleep(nap);
                left = left.saturating_sub(nap);
            }
        }
    }
}

/// Returns where a broker listens: hosts and ports, with the usual port of its protocol if the address names none. Empty if
/// there is no broker, or its protocol is not known here; then its cost is not measured.
///
/// Used to find the broker's process and its connections on this machine; never to connect.
pub(super) fn broker_ports(address: &Address) -> Vec<(String, u16)> {
    // A scheme may have a suffix, as in `redis+streams`; the part before it decides.
    let default = match address.scheme().split('+').next() {
        Some("redis" | "rediss") => 6379,
        Some("kafka") => 9092,
        Some("amqp") => 5672,
        Some("amqps") => 5671,
        _ => return Vec::new(),
    };
    let place = |host: &hubplane_backplane::Host| (host.name.clone(), host.port.unwrap_or(default));
    address.hosts().iter().map(place).collect()
}
