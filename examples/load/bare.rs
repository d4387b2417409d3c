//! What a bare write costs: the floor for everything that writes once a delivery.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener as StdListener, TcpStream as StdStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc};

use crate::{
    Failure, SUBSCRIBERS,
    process::{cpu, pin},
};

/// CPU time of one bare write of a frame as large as the hub's.
pub(crate) async fn bare(rate: u32, length: Duration) -> Result<f64, Failure> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    let rounds = (length.as_secs_f64() * f64::from(rate)) as usize;
    let mut process = Command::new(env::current_exe()?)
        .args([
            "bare",
            &listener.local_addr()?.to_string(),
            &rate.to_string(),
            &rounds.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    pin(process.id(), 0);
    let (done, mut dones) = mpsc::channel::<()>(1);
    for _ in 0..SUBSCRIBERS {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let (mut stream, done) = (TcpStream::from_std(stream)?, done.clone());
        tokio::spawn(async move {
            let mut part = [0; 16 * 1024];
            while let Ok(1..) = stream.read(&mut part).await {}
            drop(done);
        });
    }
    drop(done);
    process.stdin.take().ok_or("no input")?.write_all(b"go\n")?;
    dones.recv().await;
    let mut line = String::new();
    process
        .stdout
        .take()
        .ok_or("no output")?
        .read_to_string(&mut line)?;
    process.wait()?;
    Ok(line.trim().parse()?)
}

/// The other side of [`bare`]: prints microseconds of its own CPU time a frame.
pub(crate) fn bare_sender() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(2).collect();
    let [address, rate, rounds] = &arguments[..] else {
        return Err("load bare ADDRESS RATE ROUNDS".into());
    };
    let (rate, rounds): (u32, usize) = (rate.parse()?, rounds.parse()?);
    let mut sockets = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let socket = StdStream::connect(address)?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    std::io::stdin().read_line(&mut String::new())?;
    // As large as the hub's frame: header, envelope and the data.
    let frame = [b'x'; 226];
    let before = cpu(std::process::id())?;
    let start = Instant::now();
    for round in 0..rounds {
        let due = start + Duration::from_secs(1) / rate * round as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for socket in &mut sockets {
            socket.write_all(&frame)?;
        }
    }
    let spent = cpu(std::process::id())?.saturating_sub(before);
    println!(
        "{:.3}",
        spent.as_secs_f64() * 1e6 / (rounds * SUBSCRIBERS) as f64
    );
    Ok(())
}
