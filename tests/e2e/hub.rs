//! One `hubplane` process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

/// A directory of a test's own, removed when dropped: keep it as long as its files are used.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl std::ops::Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// A directory that is new for each call.
pub(crate) fn directory(name: &str) -> Directory {
    let path = std::env::temp_dir().join(format!("hubplane-e2e-{name}-{}", unique()));
    fs::create_dir_all(&path).unwrap();
    Directory(path)
}

/// A process of a test's own, killed when dropped: a test that fails leaves none behind.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn new(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("only output takes it")
    }

    /// Waits for its end.
    ///
    /// The process is taken out, so that the drop does not kill it as well.
    pub(crate) fn output(mut self) -> Output {
        let child = self.0.take().expect("only output takes it");
        child.wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Eight letters and digits, new for each call.
pub(crate) fn unique() -> String {
    format!("{:08x}", getrandom::u32().unwrap())
}

/// The program under test, without standard input: a test must not wait for a person.
pub(crate) fn hubplane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubplane"));
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end beside the test; it is killed if the test ends first.
pub(crate) fn printed(command: Command) -> JoinHandle<Output> {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().unwrap();
    tokio::spawn(async move { running.wait_with_output().await.unwrap() })
}

/// Runs a command to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    hubplane().args(arguments).output().unwrap()
}

/// A running `hubplane serve`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Hub {
    process: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    _place: Directory,
}

impl Hub {
    pub(crate) fn memory() -> Self {
        Self::start(&["--backplane", "memory:"])
    }

    /// With a configuration file of this text.
    pub(crate) fn configured(text: &str) -> Self {
        let place = directory("config");
        let file = place.join("hubplane.toml");
        fs::write(&file, text).unwrap();
        Self::start(&["--config", file.to_str().unwrap()])
    }

    /// Starts a hub on a free port. Every other one serves in a single thread, as on one core: both ways are tested without twice the tests.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let shards = 1 + STARTED.fetch_add(1, Ordering::Relaxed) % 2;
        let mut command = hubplane();
        command
            // No drain, or each test would wait for it at its end.
            .env("HUBPLANE_DRAIN", "0s")
            .env("HUBPLANE_SHARDS", shards.to_string())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments);
        Self::spawn(command, "listening on http://")
    }

    /// Starts a command and reads where it listens from its first line.
    ///
    /// `says` is what stands in front of the address. A command that says something else fails the
    /// test with its log.
    pub(crate) fn spawn(mut command: Command, says: &str) -> Self {
        let place = directory("log");
        let log = place.join("stderr");
        let mut process = command
            .stdout(Stdio::piped())
            // Into a file and not a pipe, which would fill up and stop the hub.
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(address) = line.trim().strip_prefix(says) else {
            _ = process.kill();
            process.wait().unwrap();
            panic!("it did not start: {}", fs::read_to_string(log).unwrap());
        };
        Self {
            process,
            address: address.parse().unwrap(),
            log,
            _place: place,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.ended()
    }

    /// Waits for the exit code.
    ///
    /// Fails the test after 15 s.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(15) {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }

    /// User and system time so far.
    ///
    /// From `/proc/PID/stat` (proc(5)), in ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<_> = stat
            // The name in brackets may hold blanks; fields count from behind it.
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let row = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        row.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
