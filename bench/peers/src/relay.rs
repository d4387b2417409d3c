//! The least that two more processes on the way cost: one copies what it reads from a socket into `PUBLISH`, the other what
//! Redis pushes to a socket. No WebSocket, no JSON, no answers.

use std::{
    env,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::{Failure, pubsub::pushed};

/// As the first argument, it makes this program one of the two.
pub(crate) const WORD: &str = "relay";

/// One of the two as a process of its own, where the servers are.
pub(crate) struct Relay {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Relay {
    /// Starts it on the core of the servers, so that it competes with nobody else.
    pub(crate) fn start(kind: &str, redis: SocketAddr) -> Result<Self, Failure> {
        let mut process = Command::new("taskset")
            .args(["-c", "0"])
            .arg(env::current_exe()?)
            .args([WORD, kind, &redis.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = [0; 64];
        let output = process.stdout.as_mut().ok_or("no output")?;
        let count = output.read(&mut line)?;
        // The one line that it prints is where it listens.
        let address = String::from_utf8_lossy(&line[..count]).trim().parse()?;
        Ok(Self { process, address })
    }
}

// Killed, as it has nothing to finish.
impl Drop for Relay {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Serves one connection.
/// The other side of the connection is Redis.
pub(crate) fn run(kind: &str, redis: &str) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let (client, _) = listener.accept()?;
    client.set_nodelay(true)?;
    let broker = TcpStream::connect(redis)?;
    broker.set_nodelay(true)?;
    match kind {
        "in" => inward(client, broker),
        _ => outward(client, broker),
    }
}

/// Each read is one message: so slowly do they come.
/// Only sound below the rate at which two messages meet in one read.
fn inward(mut client: TcpStream, mut broker: TcpStream) -> io::Result<()> {
    let mut answers = broker.try_clone()?;
    // Redis answers each command; nobody needs to know, but the answers must be read.
    thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
    let mut part = vec![0; 4_096];
    loop {
        let count = client.read(&mut part)?;
        if count == 0 {
            return Ok(());
        }
        let mut command =
            format!("*3\r\n$7\r\nPUBLISH\r\n$6\r\nacross\r\n${count}\r\n").into_bytes();
        command.extend_from_slice(&part[..count]);
        command.extend_from_slice(b"\r\n");
        broker.write_all(&command)?;
    }
}

/// Copies what Redis pushes. A read may hold a part of a message, or several.
fn outward(mut client: TcpStream, mut broker: TcpStream) -> io::Result<()> {
    broker.write_all(b"SUBSCRIBE across\r\n")?;
    let mut part = vec![0; 4_096];
    // The subscription's confirmation.
    _ = broker.read(&mut part)?;
    let mut got: Vec<u8> = Vec::new();
    loop {
        let count = broker.read(&mut part)?;
        if count == 0 {
            return Ok(());
        }
        got.extend_from_slice(&part[..count]);
        while let Some((message, end)) = pushed(&got) {
            client.write_all(&got[message])?;
            got.drain(..end);
        }
    }
}
