//! A redis-server of a test's own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A redis-server of one test, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    dir: PathBuf,
    lines: Vec<String>,
    process: Child,
}

impl Server {
    pub(crate) fn start(lines: &[&str]) -> Self {
        let port = free_port();
        let dir =
            std::env::temp_dir().join(format!("hubplane-redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let common = ["bind 127.0.0.1", "save \"\""];
        let mut all: Vec<String> = common
            .iter()
            .chain(lines)
            .map(|&line| line.to_owned())
            .collect();
        all.push(format!("port {port}"));
        all.push(format!("dir {}", dir.display()));
        let process = launch(&dir, &all);
        let server = Self {
            port,
            dir,
            lines: all,
            process,
        };
        server.wait();
        server
    }

    fn wait(&self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "redis-server does not start"
            );
            sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn again(&mut self) {
        self.process = launch(&self.dir, &self.lines);
        self.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What redis-cli prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let mut cli = Command::new("redis-cli");
        let output = cli.args(["-p", &port]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(dir: &Path, lines: &[String]) -> Child {
    let sentinel = lines.iter().any(|line| line.starts_with("sentinel "));
    let file = dir.join("redis.conf");
    // A Sentinel writes what it found into its file; that must outlive a restart.
    if !file.exists() {
        fs::write(&file, lines.join("\n") + "\n").unwrap();
    }
    let mut command = Command::new("redis-server");
    command
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if sentinel {
        command.arg("--sentinel");
    }
    command.spawn().expect("redis-server is installed")
}

pub(crate) fn await_line(server: &Server, question: &[&str], line: &str) {
    let start = Instant::now();
    while !server.ask(question).contains(line) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{question:?}: no {line}"
        );
        sleep(Duration::from_millis(50));
    }
}
