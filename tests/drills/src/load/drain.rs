//! A hub with thousands of clients is told to end: it lets them go one after another, so that the other hubs are not
//! asked for all of them at once.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::{task::JoinSet, time::Instant};

use super::{hubs, socket::Socket};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    hub::{Hub, Plan},
    workload::new_space,
};

/// The time over which the hub spreads the ends.
const OVER: Duration = Duration::from_secs(25);
/// The window in which the closes are counted: half a second holds 2 % of them if they are even.
const WINDOW: Duration = Duration::from_millis(500);

pub(crate) const DRILL: Drill = Drill {
    name: "drain",
    what: "5,000 clients of a hub that is told to end",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(drain(bench)) as Running<'_>,
};

/// Answers pings until the hub closes; with which code.
async fn until_close(socket: &mut Socket) -> Option<u16> {
    loop {
        // Twice the time: a hub that never closes must not hang the drill.
        let frame = socket.next(2 * OVER).await?;
        match frame.opcode {
            8 => return frame.code(),
            9 => socket.send(10, &frame.payload).await.ok()?,
            _ => {}
        }
    }
}

/// All must be closed with 1012, and never more than 5 % of them within half a second.
async fn drain(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let clients = if bench.short { 1_000 } else { 5_000 };
    let mut hub = Hub::start(Plan {
        options: vec!["--drain".to_owned(), format!("{}s", OVER.as_secs())],
        ..hubs::plan(bench, &new_space()?, 0)
    })
    .await?;
    let (address, mut sockets) = (hub.address(), Vec::new());
    // 200 at a time, as a backlog has its limits.
    for chunk in (0..clients).collect::<Vec<u32>>().chunks(200) {
        let some = chunk.iter().map(|n| async move {
            let mut socket = Socket::connect(address, &format!("?channel=c.{n}")).await?;
            let subscribed = socket.next_text(Duration::from_secs(30)).await;
            subscribed.ok_or("not subscribed")?;
            Ok::<_, crate::Error>(socket)
        });
        sockets.extend(try_join_all(some).await?);
    }
    let mut closing = JoinSet::new();
    let start = Instant::now();
    for mut socket in sockets {
        closing.spawn(async move { (until_close(&mut socket).await, start.elapsed()) });
    }
    hub.signal("TERM").await?;
    let (mut times, mut other) = (Vec::new(), 0);
    while let Some(closed) = closing.join_next().await {
        match closed? {
            (Some(1012), at) => times.push(at),
            _ => other += 1,
        }
    }
    let status = hub.wait(Duration::from_secs(15)).await?;
    times.sort();
    // The fullest window begins with a close; the list is sorted.
    let fullest = times.iter().enumerate().map(|(at, first)| {
        let later = times[at..].iter();
        later.take_while(|time| **time < *first + WINDOW).count()
    });
    let share = 100.0 * fullest.max().unwrap_or(0) as f64 / times.len().max(1) as f64;
    // One more for what came late.
    let mut seconds = vec![0; OVER.as_secs() as usize + 1];
    for time in &times {
        let last = seconds.len() - 1;
        seconds[(time.as_secs() as usize).min(last)] += 1;
    }
    cell.figure("clients", clients);
    cell.figure("closed_in_each_second", seconds);
    cell.figure(
        "fullest_half_second_percent",
        (share * 100.0).round() / 100.0,
    );
    cell.figure("took_s", start.elapsed().as_secs_f64());
    cell.gate(other == 0, format!("{other} were not closed with 1012"));
    cell.gate(
        share <= 5.0,
        format!("{share:.1} % of the closes in half a second"),
    );
    cell.gate(status.success(), format!("the hub ended with {status}"));
    Ok(cell)
}
