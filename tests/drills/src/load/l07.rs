//! L7: many subscribers of one channel leave at the same moment. What it costs to take them off the channel's list is not to
//! be felt by the clients of other channels.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{hubs, socket::Socket};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    http::Http,
    workload::new_space,
};

/// Clients of another channel, which go on.
const OTHERS: usize = 20;
/// Between two messages to them.
const EVERY: Duration = Duration::from_millis(5);
/// How long they are watched before the others leave, and from then on.
const WATCHED: Duration = Duration::from_secs(3);
/// Their 99th percentile meanwhile, at most.
const MOST: Duration = Duration::from_millis(50);

pub(crate) const DRILL: Drill = Drill {
    name: "L7",
    what: "15,000 subscribers of one channel end at once, while others receive 200 messages a second",
    short: false,
    fits: |kind| kind == Kind::Memory,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(leave(bench))
}

/// The others' p99 must stay below [`MOST`], from the moment on when the many leave.
async fn leave(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let clients = if bench.short { 2_000 } else { 15_000 };
    let hub = &hubs::start(bench, &new_space()?, 1).await?[0];
    let mut sockets = Vec::new();
    while sockets.len() < clients {
        let some = (0..200).map(|_| subscribed(hub.address(), "many"));
        sockets.extend(try_join_all(some).await?);
    }
    // Sending and receiving are in one process, so they share a clock.
    let begun = Instant::now();
    let mut others = JoinSet::new();
    for _ in 0..OTHERS {
        let socket = subscribed(hub.address(), "few").await?;
        others.spawn(receive(socket, begun));
    }
    let mut http = Http::new(hub.address());
    publish(&mut http, begun).await?;
    // Messages that were sent earlier count as before.
    let left = begun.elapsed();
    // All connections end here, without a close frame.
    drop(sockets);
    publish(&mut http, begun).await?;
    let (mut before, mut meanwhile) = (Vec::new(), Vec::new());
    while let Some(received) = others.join_next().await {
        for (sent, took) in received?? {
            match sent < left {
                true => before.push(took),
                false => meanwhile.push(took),
            }
        }
    }
    // Half of what was due: a busy machine may publish more slowly.
    let wanted = OTHERS * (WATCHED.as_millis() / EVERY.as_millis()) as usize / 2;
    for (name, times) in [("before", &mut before), ("meanwhile", &mut meanwhile)] {
        times.sort_unstable();
        cell.figure(&format!("p99_ms_{name}"), hubs::ms(hubs::at(times, 0.99)));
        cell.figure(&format!("max_ms_{name}"), hubs::ms(hubs::at(times, 1.0)));
        let count = times.len();
        cell.gate(count >= wanted, format!("{name}: only {count} deliveries"));
    }
    let worst = hubs::at(&meanwhile, 0.99);
    cell.gate(worst <= MOST, format!("others waited {worst:?}"));
    cell.figure("clients", clients);
    Ok(cell)
}

/// A client that is subscribed to a channel.
async fn subscribed(hub: SocketAddr, channel: &str) -> Result<Socket> {
    let mut socket = Socket::connect(hub, &format!("?channel={channel}")).await?;
    let answer = socket.next_text(Duration::from_secs(30)).await;
    answer.ok_or("not subscribed")?;
    Ok(socket)
}

/// Publishes for as long as is watched; each message says when it was sent.
async fn publish(http: &mut Http, begun: Instant) -> Result<()> {
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < WATCHED {
        let sent = begun.elapsed().as_micros() as u64;
        hubs::publish(http, &[json!({ "channel": "few", "data": sent })]).await?;
        // By the clock and not by pauses, so that a slow publish does not lower the rate.
        next += EVERY;
        sleep(next.saturating_duration_since(Instant::now())).await;
    }
    Ok(())
}

/// When each message was sent, and how long it took, until nothing more comes.
async fn receive(mut socket: Socket, begun: Instant) -> Result<Vec<(Duration, Duration)>> {
    let mut received = Vec::new();
    while let Some(text) = socket.next_text(WATCHED).await {
        let arrived = begun.elapsed();
        let message: Value = serde_json::from_str(&text)?;
        if let Some(sent) = message["data"].as_u64() {
            let sent = Duration::from_micros(sent);
            received.push((sent, arrived.saturating_sub(sent)));
        }
    }
    Ok(received)
}
