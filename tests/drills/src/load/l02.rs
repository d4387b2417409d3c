//! L2: thousands connect at once, beside clients that are served already. L4: one message for ten thousand.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::{
    hubs::{self, at, ms},
    socket::Socket,
};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    http::Http,
    workload::new_space,
};

pub(crate) const STORM: Drill = Drill {
    name: "L2",
    what: "5,000 clients connect at once",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(storm(bench)) as Running<'_>,
};

pub(crate) const FAN_OUT: Drill = Drill {
    name: "L4",
    what: "1 KiB for 10,000 clients of one channel",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(fan_out(bench)) as Running<'_>,
};

/// For one client, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// All must be let in; the time is told, not judged, since it depends on the machine.
async fn storm(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let clients = if bench.short { 1_000 } else { 5_000 };
    let hub = &hubs::start(bench, &new_space()?, 1).await?[0];
    let address = hub.address();
    let start = Instant::now();
    // All at once, without any pause.
    let all = (0..clients).map(|n| {
        tokio::spawn(async move {
            let mut socket = Socket::connect(address, &format!("?channel=c.{}", n % 50)).await?;
            socket.next_text(LIMIT).await.ok_or("not subscribed")?;
            Ok::<_, crate::Error>((start.elapsed(), socket))
        })
    });
    let mut times = Vec::new();
    let mut open = Vec::new();
    let mut failed = 0;
    for one in join_all(all).await {
        match one? {
            Ok((time, socket)) => {
                times.push(time);
                open.push(socket);
            }
            Err(_) => failed += 1,
        }
    }
    times.sort();
    let last = at(&times, 1.0);
    cell.figure("clients", clients);
    cell.figure("all_ms", ms(last));
    cell.figure(
        "a_second",
        (f64::from(clients) / last.as_secs_f64()).round(),
    );
    cell.gate(failed == 0, format!("{failed} were not let in"));
    cell.note("without tokens: subscribers are not authenticated yet");
    Ok(cell)
}

/// All must get each of ten messages; told is how long until the last one has it.
async fn fan_out(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let clients = if bench.short { 2_000 } else { 10_000 };
    let hub = &hubs::start(bench, &new_space()?, 1).await?[0];
    let address = hub.address();
    let mut sockets = Vec::new();
    for chunk in (0..clients).collect::<Vec<u32>>().chunks(200) {
        for socket in join_all(
            chunk
                .iter()
                .map(|_| Socket::connect(address, "?channel=all")),
        )
        .await
        {
            let mut socket = socket?;
            socket.next_text(LIMIT).await.ok_or("not subscribed")?;
            sockets.push(socket);
        }
    }
    let mut http = Http::new(address);
    let mut lasts = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        // 1,024 bytes with JSON's quotation marks.
        let message = json!({ "channel": "all", "data": "x".repeat(1_022) });
        hubs::publish(&mut http, &[message]).await?;
        // They are read one after the other, but wait side by side.
        let heard = sockets.iter_mut().map(|socket| socket.next_text(LIMIT));
        let heard = join_all(heard).await;
        cell.gate(heard.iter().all(Option::is_some), "some did not get it");
        lasts.push(start.elapsed());
    }
    lasts.sort();
    cell.figure("clients", clients);
    cell.figure("last_client_p50_ms", ms(at(&lasts, 0.5)));
    cell.figure("last_client_max_ms", ms(at(&lasts, 1.0)));
    Ok(cell)
}
