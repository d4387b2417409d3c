//! L1: clients that only wait: what each costs in memory, and all of them in CPU.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::{task::JoinSet, time::sleep};

use super::{hubs, socket::Socket};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    workload::new_space,
};

pub(crate) const DRILL: Drill = Drill {
    name: "L1",
    what: "15,000 clients that wait, three channels each, through their pings",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(idle(bench))
}

/// At most 12 KiB of resident memory for each client, and 3 % of a core for all while they wait.
async fn idle(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let (clients, watched) = match bench.short {
        true => (2_000, Duration::from_secs(30)),
        false => (15_000, Duration::from_secs(600)),
    };
    let hub = &hubs::start(bench, &new_space()?, 1).await?[0];
    // What the hub needs without clients.
    let before = hub.resident()?;
    let mut sockets = Vec::new();
    for chunk in (0..clients).collect::<Vec<u32>>().chunks(200) {
        let some = chunk.iter().map(|n| async move {
            let query = format!("?channel=a.{n}&channel=b.{n}&channel=c.{n}");
            let mut socket = Socket::connect(hub.address(), &query).await?;
            for _ in 0..3 {
                let subscribed = socket.next_text(Duration::from_secs(30)).await;
                subscribed.ok_or("not subscribed")?;
            }
            Ok::<_, crate::Error>(socket)
        });
        sockets.extend(try_join_all(some).await?);
    }
    // What opening them takes is given back.
    sleep(Duration::from_secs(2)).await;
    let each = hub.resident()?.saturating_sub(before) as f64 / f64::from(clients) / 1024.0;
    let cpu = hub.cpu()?;
    // Each answers its pings, and says when its connection ends.
    let mut ended = JoinSet::new();
    for mut socket in sockets {
        ended.spawn(async move {
            while socket.next_text(Duration::from_secs(3_600)).await.is_some() {}
        });
    }
    // Several rounds of pings, one every 25 s.
    sleep(watched).await;
    let busy = (hub.cpu()? - cpu).as_secs_f64() / watched.as_secs_f64() * 100.0;
    let mut gone = 0;
    while ended.try_join_next().is_some() {
        gone += 1;
    }
    cell.figure("clients", clients);
    cell.figure("kib_each", (each * 100.0).round() / 100.0);
    cell.figure("cpu_percent", (busy * 100.0).round() / 100.0);
    cell.figure("watched_s", watched.as_secs());
    cell.gate(gone == 0, format!("{gone} connections ended"));
    cell.gate(each <= 12.0, format!("{each:.1} KiB each"));
    cell.gate(busy <= 3.0, format!("{busy:.1} % of a core while all wait"));
    Ok(cell)
}
