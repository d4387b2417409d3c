//! D13: the hubs' clocks are hours apart. Nothing that counts may be counted by a clock.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::sleep,
};

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D13",
    what: "one hub's clock is two hours ahead, another's two behind; a hub is killed meanwhile",
    short: false,
    fits: |kind| kind.has_broker(),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(clocks(bench))
}

/// Where Debian puts it.
fn library() -> Option<String> {
    let places = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut files = places.map(|place| place.path().join("faketime/libfaketime.so.1"));
    let found = files.find(|file| file.exists())?;
    Some(found.to_string_lossy().into_owned())
}

/// Compiled here, since libfaketime lacks it.
const WAITS: &str = include_str!("d13/waits.c");

/// The library of [`WAITS`].
async fn compile(directory: &Path) -> Result<String> {
    let (source, library) = (directory.join("waits.c"), directory.join("waits.so"));
    fs::write(&source, WAITS)?;
    let output = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {said}", source.display()).into());
    }
    Ok(library.to_string_lossy().into_owned())
}

/// Minutes by which a hub's clock is ahead, by the date of its answers; of days nothing is said.
async fn ahead(hub: SocketAddr) -> Result<i64> {
    const DAY: i64 = 24 * 60;
    let mut stream = TcpStream::connect(hub).await?;
    let request = format!("GET /live HTTP/1.1\r\nhost: {hub}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let date = answer.lines().find_map(|line| line.strip_prefix("date: "));
    // Wed, 25 Nov 2026 12:21:05 GMT
    let time = date.and_then(|date| date.split(' ').nth(4));
    let mut parts = time.ok_or("no date")?.split(':').map(str::parse::<i64>);
    let mut part = || parts.next().ok_or("no time of day");
    let there = part()?? * 60 + part()??;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let here = i64::try_from(now.as_secs())? / 60 % DAY;
    Ok((there - here + DAY + DAY / 2).rem_euclid(DAY) - DAY / 2)
}

/// Nothing may depend on the hubs' clocks being alike.
async fn clocks(bench: &Bench) -> Result<Cell> {
    let Some(mut libraries) = library() else {
        let why = "libfaketime is not there: apt-get install libfaketime";
        return Ok(Cell::left_out(why));
    };
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    // Kafka's client waits by the clock that is shifted, so its waits are mended by a library of
    // our own.
    if bench.backend.kind() == Kind::Kafka {
        libraries = format!("{}:{libraries}", compile(&bench.directory).await?);
    }
    // Not by the program faketime, which stays between: a kill must reach the hub. Machines differ in what the time is, not
    // in how long a second lasts.
    let shifted = |by: &str| {
        let (preload, by) = (format!("LD_PRELOAD={libraries}"), format!("FAKETIME={by}"));
        let only = "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned();
        vec!["env".to_owned(), preload, by, only]
    };
    settings.wrappers = vec![shifted("+2h"), shifted("-2h")];
    let mut workload = Workload::start(bench, &settings).await?;
    // The proof that the clocks are shifted: each hub's own `Date` header (RFC 9110, section
    // 6.6.1).
    for (hub, wanted) in workload.hubs.iter().zip([120, -120, 0]) {
        let ahead = ahead(hub.address()).await?;
        // A minute may begin between the two looks.
        let shifted = (ahead - wanted).abs() <= 1;
        let told = format!("{}: its clock is {ahead} minutes ahead", hub.node());
        cell.gate(shifted, told);
    }
    sleep(Duration::from_secs(10)).await;
    // Its clients go to hubs of other times, and it reads back what was published by other clocks.
    workload.hubs[0].kill().await?;
    workload.fault("hub", Phase::Begin)?;
    sleep(Duration::from_secs(2)).await;
    workload.fault("hub", Phase::Mend)?;
    workload.hubs[0].again().await?;
    workload.hubs[0]
        .until_ready(true, Duration::from_secs(15))
        .await?;
    workload.fault("hub", Phase::End)?;
    sleep(Duration::from_secs(10)).await;
    cell.figure("rate", workload.rate());
    cell.note("tokens that expire: subscribers are not authenticated yet");
    let verdict = workload.finish().await?;
    let kind = bench.backend.kind();
    // A position must not contain a time of one machine.
    if kind.is_log() {
        let (back, of) = (verdict.recovered, verdict.resumes);
        cell.gate(back == of, format!("{back} of {of} resumes recovered"));
    }
    let demands = Demands {
        lossless: true,
        native_may_be_lost: false,
        faults: 1,
    };
    judge(&mut cell, kind, verdict, demands);
    Ok(cell)
}
