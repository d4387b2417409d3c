//! The servers under load, as `up` has started them, and what the operating system says of their processes.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use serde::Deserialize;

use crate::{Failure, protocol};

/// A file that `up` writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// With its version.
    pub(crate) name: String,
    pub(crate) protocol: protocol::Name,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Its broker.
    pub(crate) redis: SocketAddr,
    /// Processes of the instances.
    pub(crate) servers: Vec<u32>,
    /// Processes of the broker.
    pub(crate) brokers: Vec<u32>,
}

impl Target {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Ends the servers and starts them again, as `bench/peers/run` did; what they are then.
    ///
    /// # Errors
    ///
    /// The script fails; it has said why.
    pub(crate) fn restart(path: &Path) -> Result<Self, Failure> {
        let name = path.file_stem().ok_or("a target's file has a name")?;
        let mut command = Command::new("bench/peers/servers");
        match command.arg("up").arg(name).status()?.success() {
            true => Self::read(path),
            false => Err(format!("{} has not started again", path.display()).into()),
        }
    }

    /// CPU time so far: of the instances, and of the broker.
    pub(crate) fn spent(&self) -> Result<(Duration, Duration), Failure> {
        Ok((cpu_of(&self.servers)?, cpu_of(&self.brokers)?))
    }

    /// CPU time so far of all of them.
    pub(crate) fn spent_by_all(&self) -> Result<Duration, Failure> {
        self.spent().map(|(servers, broker)| servers + broker)
    }

    /// Memory of the instances, shared pages in proportion, in bytes.
    pub(crate) fn memory(&self) -> Result<u64, Failure> {
        // PSS, so that pages of the program itself count once for both instances.
        self.servers.iter().map(|&process| pss(process)).sum()
    }
}

/// The sum over some processes. An error if one of them is gone: its share would be missing.
fn cpu_of(processes: &[u32]) -> Result<Duration, Failure> {
    processes.iter().map(|&process| cpu(process)).sum()
}

/// CPU time of all threads of a process, in the scheduler's nanoseconds.
/// See proc(5), `schedstat`: the first number is the time on a core.
pub(crate) fn cpu(process: u32) -> Result<Duration, Failure> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next().unwrap_or("0");
        nanos += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Proportional set size in bytes: a page that n processes share counts one nth.
fn pss(process: u32) -> Result<u64, Failure> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let row = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = row.ok_or("no Pss")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<u64>()? * 1_024)
}
