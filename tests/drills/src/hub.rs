//! One process `hubplane serve`: starting, killing and asking it. Drills know a hub by its program and its ports alone.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{Result, backend::signal, http};

/// How a hub is started, and started again.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    /// Put before the program: `taskset`, `prlimit`, `faketime` with their arguments.
    pub(crate) wrapper: Vec<String>,
    /// The broker's address for this hub; it may lead through a proxy.
    pub(crate) address: String,
    pub(crate) node: String,
    /// More options of `serve`.
    pub(crate) options: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Appended to, so that it has all starts of this hub.
    pub(crate) log: PathBuf,
}

/// A hub's process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Kept, to start the hub again as it was.
    plan: Plan,
    process: Child,
    /// Where it listens; the same after another start.
    address: SocketAddr,
}

impl Hub {
    /// Starts a hub on a free port and returns when it listens, which is before it is ready. An error names its log.
    pub(crate) async fn start(plan: Plan) -> Result<Self> {
        Self::start_at(plan, "127.0.0.1:0".parse()?).await
    }

    async fn start_at(plan: Plan, listen: SocketAddr) -> Result<Self> {
        // A wrapper becomes the hub's process, so that signals reach the hub.
        let mut words = plan.wrapper.clone();
        words.push(plan.program.to_string_lossy().into_owned());
        let log = File::options().append(true).create(true).open(&plan.log)?;
        let mut process = Command::new(&words[0])
            .args(&words[1..])
            .args([
                "serve",
                "--listen",
                &listen.to_string(),
                "--backplane",
                &plan.address,
            ])
            // Only warnings: the log of a drill would be very long otherwise.
            .args(["--node", &plan.node, "--log", "warn"])
            .args(&plan.options)
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let out = process.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        // A debug build on a busy machine, with a broker's log to read.
        timeout(
            Duration::from_secs(60),
            BufReader::new(out).read_line(&mut line),
        )
        .await??;
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            // It has said something else, or nothing: it is ending.
            let status = timeout(Duration::from_secs(20), process.wait()).await??;
            return Err(format!(
                "{} did not start ({status}), see {}",
                plan.node,
                plan.log.display()
            )
            .into());
        };
        Ok(Self {
            address: address.parse()?,
            plan,
            process,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn node(&self) -> &str {
        &self.plan.node
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.process.id().ok_or("the hub has ended")?)
    }

    /// Sends a signal by name, such as `STOP`.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid()?, name).await
    }

    /// Kills the hub with SIGKILL and waits for its end.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Waits until the hub has ended by itself; an error if it takes longer than `limit`.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        Ok(timeout(limit, self.process.wait()).await??)
    }

    /// Starts the hub again after its end, at the same address.
    pub(crate) async fn again(&mut self) -> Result<()> {
        *self = Self::start_at(self.plan.clone(), self.address).await?;
        Ok(())
    }

    /// Asks `/ready`: `Ok` if it answers 200, else the reason that it gives.
    pub(crate) async fn ready(&self) -> Result<std::result::Result<(), String>> {
        let (status, body) = http::get(self.address, "/ready").await?;
        Ok(if status == 200 { Ok(()) } else { Err(body) })
    }

    /// Waits until `/ready` answers as wanted, and returns how long that took; an error after `limit`.
    pub(crate) async fn until_ready(&self, wanted: bool, limit: Duration) -> Result<Duration> {
        // Polled, as readiness has no event that could be waited for.
        let start = Instant::now();
        loop {
            let said = self.ready().await;
            if matches!(said, Ok(Ok(()))) == wanted {
                return Ok(start.elapsed());
            }
            if start.elapsed() > limit {
                return Err(format!("{}: still after {limit:?}: {said:?}", self.plan.node).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of a series in `/metrics`, summed over its labels; 0 if there is none.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = http::get(self.address, "/metrics").await?;
        // A name that only begins like this one is followed by neither a brace nor a blank.
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labels) => labels.split_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// The processor time that the hub has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        // The name stands in brackets and may hold brackets itself; behind the last one, fields
        // count from the state (proc(5)).
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        // utime and stime in ticks of 10 ms.
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The part of its resident memory that is not mapped from files, in bytes.
    pub(crate) fn anonymous(&self) -> Result<u64> {
        self.memory("RssAnon:")
    }

    /// A line of `status` in bytes; the kernel writes kB and means 1,024.
    fn memory(&self, kind: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let row = status.lines().find_map(|line| line.strip_prefix(kind));
        let row = row.ok_or_else(|| format!("no {kind}"))?;
        Ok(row.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Open file descriptors.
    pub(crate) fn files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()?))?.count())
    }
}
