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
    pub(super) hubs: Vec<HubAddress>,
}

/// Hubs that were started here, ended when dropped.
#[derive(Debug)]
pub(super) struct Hubs {
    processes: Vec<Child>,
    pub(super) target: Target,
}

impl HubAddress {
    /// Reads `http://HOST:PORT`; the port is 80 if none is given. `key` is what publishers show. The error is a sentence
    /// that says how to write it.
    pub(super) fn parse(url: &str, key: Option<&str>) -> Result<Self, String> {
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| !rest.is_empty() && !rest.contains('/'));
        let Some(authority) = authority else {
            return Err(format!(
                "{url}: a hub's address is http://HOST:PORT; for https, bench the hub behind the proxy"
            ));
        };
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
        let line = |key| format!("authorization: Bearer {key}\r\n");
        self.key.as_ref().map(line).unwrap_or_default()
    }
}

impl fmt::Debug for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubAddress")
            .field("authority", &self.authority)
            .field("key", &self.key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl Hubs {
    /// Starts `many` processes of a program on one backend, on the cores given as `taskset` takes them. Returns when all
    /// listen. An error if one does not start within 40 s; those that were started end then.
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
        for n in 0..many {
            // Pinned from its first moment: a hub counts its cores when it starts.
            let mut command = match cores {
                Some(cores) => system::pinned(program, cores),
                None => Command::new(program),
            };
            let mut process = command
                // Not as an argument: an address may hold a password.
                .env("HUBPLANE_BACKPLANE", backplane)
                .args([
                    "serve",
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
    pub(super) fn kill_first(&mut self) -> io::Result<()> {
        let first = self.processes.first_mut();
        let first = first.ok_or_else(|| io::Error::other("no hub was started"))?;
        first.kill()?;
        first.wait().map(drop)
    }

    /// Returns the ids of the processes, also of one that was killed.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(Child::id).collect()
    }
}

/// Returns where to read the hub's address once it takes connections, or why it ended. A thread reads both outputs.
fn listening(process: &mut Child) -> mpsc::Receiver<Result<String, String>> {
    let (said, line) = mpsc::sync_channel(1);
    let (out, error) = (process.stdout.take(), process.stderr.take());
    thread::spawn(move || {
        let mut first = String::new();
        if let Some(out) = out {
            // An end without a line is told below.
            _ = BufReader::new(out).read_line(&mut first);
        }
        if let Some(url) = first.trim().strip_prefix("listening on ") {
            _ = said.send(Ok(url.to_owned()));
        }
        // Read to its end: a hub that can't write its log would stand still.
        let lines = error.map(|error| BufReader::new(error).lines());
        let last = lines.into_iter().flatten().map_while(Result::ok).last();
        _ = said.try_send(Err(
            last.unwrap_or_else(|| "a hub ended at its start".to_owned())
        ));
    });
    line
}

impl Drop for Hubs {
    fn drop(&mut self) {
        for process in &self.processes {
            system::terminate(process.id());
        }
        let mut left = END;
        for process in &mut self.processes {
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
pub(super) fn broker_ports(address: &Address) -> Vec<(String, u16)> {
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
