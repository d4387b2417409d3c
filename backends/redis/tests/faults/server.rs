//! A redis-server of a test's own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A killed server comes back with all that it has acknowledged. By default Redis puts a write off while the disk is
/// busy; for a process's end it is enough that the kernel has it.
pub(crate) const KEPT: &[&str] = &["appendonly yes", "appendfsync no"];

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
        let process = launch(&dir, port, &all);
        let server = Self {
            port,
            dir,
            lines: all,
            process,
        };
        server.wait();
        server
    }

    /// A node of a Cluster, alone as yet.
    pub(crate) fn member(lines: &[&str]) -> Self {
        let bus = format!("cluster-port {}", free_port());
        let own = ["cluster-enabled yes", "cluster-node-timeout 1000", &bus];
        Self::start(&[&own[..], lines].concat())
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
        self.process = launch(&self.dir, self.port, &self.lines);
        self.wait();
    }

    /// A killed server runs for a while where nobody looks for it.
    pub(crate) fn aside(&mut self, work: impl FnOnce(&Self)) {
        let port = std::mem::replace(&mut self.port, free_port());
        self.again();
        work(self);
        self.kill();
        self.port = port;
    }

    /// Keeps a copy of the append-only file of a killed server.
    pub(crate) fn save(&self) {
        self.copy("appendonlydir", "saved");
    }

    /// Makes the file what it was when it was saved.
    pub(crate) fn restore(&self) {
        fs::remove_dir_all(self.dir.join("appendonlydir")).unwrap();
        self.copy("saved", "appendonlydir");
    }

    fn copy(&self, from: &str, to: &str) {
        let mut copy = Command::new("cp");
        copy.arg("-a")
            .arg(self.dir.join(from))
            .arg(self.dir.join(to));
        assert!(copy.status().unwrap().success());
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

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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

/// A Cluster of masters.
pub(crate) fn cluster(nodes: usize, lines: &[&str]) -> Vec<Server> {
    let nodes: Vec<_> = (0..nodes).map(|_| Server::member(lines)).collect();
    let hosts: Vec<_> = nodes.iter().map(Server::host).collect();
    let mut create = vec!["--cluster", "create", "--cluster-yes"];
    create.extend(hosts.iter().map(|host| &**host));
    nodes[0].ask(&create);
    for node in &nodes {
        await_line(node, &["cluster", "info"], "cluster_state:ok");
    }
    nodes
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(dir: &Path, port: u16, lines: &[String]) -> Child {
    let sentinel = lines.iter().any(|line| line.starts_with("sentinel "));
    let file = dir.join("redis.conf");
    // A Sentinel writes what it found into its file; that must outlive a restart.
    if !file.exists() {
        fs::write(&file, lines.join("\n") + "\n").unwrap();
    }
    let mut command = Command::new("redis-server");
    command
        .arg(file)
        .args(["--port", &port.to_string()])
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
