//! The hub as a process, and what the operating system says of it.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Failure, answer};

/// The hub under load, a process of its own.
pub(crate) struct Hub {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Hub {
    pub(crate) fn start(backplane: &str) -> Result<Self, Failure> {
        let binary = env::current_exe()?
            .parent()
            .and_then(|dir| dir.parent())
            .ok_or("no directory")?
            .join("hubplane");
        if !binary.exists() {
            return Err(format!("{} is missing: cargo build --release", binary.display()).into());
        }
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"])
            .args(["--backplane", backplane])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .ok_or("the hub did not start")?
            .parse()?;
        pin(process.id(), 0);
        Ok(Self { process, address })
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Result<TcpStream, Failure> {
        let mut socket = TcpStream::connect(self.address).await?;
        let request = format!(
            "GET /ws?channel={channel} HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        socket.write_all(request.as_bytes()).await?;
        let mut got = Vec::new();
        while !got.windows(12).any(|window| window == b"\"subscribed\"") {
            let mut part = [0; 1024];
            match socket.read(&mut part).await? {
                0 => return Err(String::from_utf8_lossy(&got).into()),
                n => got.extend_from_slice(&part[..n]),
            }
        }
        Ok(socket)
    }

    pub(crate) async fn metric(&self, name: &str) -> Result<u64, Failure> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream
            .write_all(
                format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).as_bytes(),
            )
            .await?;
        let text = answer(&mut stream).await?;
        let row = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("hubplane_{name} ")));
        Ok(row.ok_or("no such metric")?.parse()?)
    }

    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        cpu(self.process.id())
    }

    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let row = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .ok_or("no Pss")?;
        Ok(row.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// CPU time of all threads of a process, in the scheduler's nanoseconds.
pub(crate) fn cpu(process: u32) -> Result<Duration, Failure> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text
            .split_whitespace()
            .next()
            .ok_or("no time")?
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Where there is no `taskset`, figures are of unpinned processes.
pub(crate) fn pin(process: u32, core: usize) {
    let arguments = ["-acp".to_owned(), core.to_string(), process.to_string()];
    _ = Command::new("taskset")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
