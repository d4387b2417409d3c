//! Clients that ask for too much: L5 floods with subscriptions, L6 uses a million channel names, L10 floods with pings or
//! answers none, L11 never reads.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, interval, sleep};

use super::{hubs, socket::Socket};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    http::{self, Http},
    hub::Hub,
    workload::new_space,
};

pub(crate) const FLOOD: Drill = Drill {
    name: "L5",
    what: "one client sends 100,000 subscriptions",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(flood(bench)) as Running<'_>,
};

pub(crate) const CHURN: Drill = Drill {
    name: "L6",
    what: "a million channel names come and go",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(churn(bench)) as Running<'_>,
};

pub(crate) const PINGS: Drill = Drill {
    name: "L10",
    what: "one client sends 10,000 pings a second, another answers none",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(pings(bench)) as Running<'_>,
};

pub(crate) const DEAF: Drill = Drill {
    name: "L11",
    what: "a client never reads",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run: |bench| Box::pin(never_reads(bench)) as Running<'_>,
};

const MIB: f64 = 1_048_576.0;

/// One hub, in a space of its own.
async fn hub(bench: &Bench) -> Result<Hub> {
    Ok(hubs::start(bench, &new_space()?, 1).await?.remove(0))
}

/// Growth in MiB, to two places; 0 if it has shrunk.
fn mib(before: u64, after: u64) -> f64 {
    (after.saturating_sub(before) as f64 / MIB * 100.0).round() / 100.0
}

/// The hub takes 128 subscriptions of a session, refuses the rest, and does not grow.
async fn flood(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let hub = hub(bench).await?;
    let before = hub.resident()?;
    let mut socket = Socket::connect(hub.address(), "").await?;
    let mut sent = 0;
    let (mut subscribed, mut refused) = (0, 0);
    let mut code = None;
    // A session that only sends and never reads would fill its own buffers.
    'flood: while sent < 100_000 {
        for _ in 0..100 {
            let subscribe = json!({ "type": "subscribe", "channel": format!("flood.{sent}") });
            sent += 1;
            if socket.text(&subscribe.to_string()).await.is_err() {
                break 'flood;
            }
        }
        while let Some(frame) = socket.next(Duration::from_millis(1)).await {
            match frame.opcode {
                // Closed for the flood, which is allowed.
                8 => {
                    code = frame.code();
                    break 'flood;
                }
                _ if frame.text().contains("subscribed") => subscribed += 1,
                _ => refused += 1,
            }
        }
    }
    cell.figure("sent", sent);
    cell.figure("subscribed", subscribed);
    cell.figure("refused", refused);
    cell.figure("closed_with", code.unwrap_or_default());
    cell.figure("grown_mib", mib(before, hub.resident()?));
    cell.gate(
        subscribed <= 128,
        format!("{subscribed} subscriptions in one session"),
    );
    cell.gate(
        subscribed == 128,
        format!("only {subscribed} subscriptions were let in"),
    );
    cell.gate(
        mib(before, hub.resident()?) < 5.0,
        "it has grown by more than 5 MiB",
    );
    Ok(cell)
}

/// Names that are given up must not stay in memory, nor in metrics.
async fn churn(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let hub = hub(bench).await?;
    let names = if bench.short { 20_000 } else { 1_000_000 };
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(Socket::connect(hub.address(), "").await?);
    }
    // Lines that are no comments.
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let series_before = series(&http::get(hub.address(), "/metrics").await?.1);
    let before = hub.resident()?;
    let start = Instant::now();
    // As many as a socket may send: more is another drill.
    let mut pace = interval(Duration::from_millis(100));
    for first in (0..names).step_by(20 * 20) {
        pace.tick().await;
        for (n, socket) in sockets.iter_mut().enumerate() {
            let names = first + 20 * n..first + 20 * n + 20;
            for name in names.clone() {
                socket
                    .text(
                        &json!({ "type": "subscribe", "channel": format!("churn.{name}") })
                            .to_string(),
                    )
                    .await?;
            }
            for name in names {
                socket
                    .text(
                        &json!({ "type": "unsubscribe", "channel": format!("churn.{name}") })
                            .to_string(),
                    )
                    .await?;
            }
            // An answer to each command, so that nothing is left on the way.
            for _ in 0..40 {
                socket
                    .next_text(Duration::from_secs(10))
                    .await
                    .ok_or("no answer")?;
            }
        }
    }
    let took = start.elapsed();
    // What the allocator gives back, it gives back by now.
    sleep(Duration::from_secs(5)).await;
    let grown = mib(before, hub.resident()?);
    let series_after = series(&http::get(hub.address(), "/metrics").await?.1);
    cell.figure("names", names);
    cell.figure("took_s", took.as_secs_f64().round());
    cell.figure("grown_mib", grown);
    cell.gate(grown <= 10.0, format!("{grown} MiB more than before"));
    cell.gate(
        series_before == series_after,
        "the number of series has changed",
    );
    Ok(cell)
}

/// A flood of pings is ended with 1008, and silence with 3012 after 35 s.
async fn pings(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let hub = hub(bench).await?;
    let mut flooding = Socket::connect(hub.address(), "").await?;
    let start = Instant::now();
    let mut sent = 0_u64;
    let code = loop {
        for _ in 0..100 {
            if flooding.send(9, b"").await.is_ok() {
                sent += 1;
            }
        }
        let mut code = None;
        while let Some(frame) = flooding.next(Duration::from_millis(1)).await {
            if frame.opcode == 8 {
                code = frame.code();
            }
        }
        if code.is_some() || start.elapsed() > Duration::from_secs(30) {
            break code;
        }
        // With the reading, about 10,000 a second.
        sleep(Duration::from_millis(8)).await;
    };
    cell.figure("pings_until_closed", sent);
    cell.figure("flood_closed_with", code.unwrap_or_default());
    cell.gate(
        code == Some(1008),
        format!("the flood was ended with {code:?}"),
    );
    // And one that answers nothing: 25 s to the ping, 10 s for the answer.
    let mut silent = Socket::connect(hub.address(), "?channel=c").await?;
    let start = Instant::now();
    let code = silent.closed(Duration::from_secs(45)).await;
    cell.figure("silence_closed_with", code.unwrap_or_default());
    cell.figure("silence_closed_after_s", start.elapsed().as_secs());
    cell.gate(
        code == Some(3012),
        format!("the silent one was ended with {code:?}"),
    );
    Ok(cell)
}

/// The hub must let it go within 30 s, however little it does.
async fn never_reads(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let hub = hub(bench).await?;
    // Held, but never read from.
    let _silent = Socket::connect(hub.address(), "?channel=c").await?;
    let mut http = Http::new(hub.address());
    let start = Instant::now();
    let large = "x".repeat(32_000);
    let mut published = 0;
    while hub.metric("hubplane_sessions").await? > 0.0 {
        if start.elapsed() > Duration::from_secs(60) {
            break;
        }
        hubs::publish(&mut http, &[json!({ "channel": "c", "data": large })]).await?;
        published += 1;
        sleep(Duration::from_millis(20)).await;
    }
    cell.figure("published", published);
    cell.figure("gone_after_s", start.elapsed().as_secs_f64());
    cell.gate(
        start.elapsed() < Duration::from_secs(30),
        "a client that never reads is still there",
    );
    Ok(cell)
}
