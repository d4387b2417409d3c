//! L3: a hub with thousands of clients dies. They come back to the other two at once, and each has missed a hundred
//! messages. How long until all have caught up, what does the broker see of it, what do the others' clients feel.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use super::{
    hubs::{self, at, ms},
    socket::Socket,
};
use crate::{
    Result,
    cell::Cell,
    drill::{Bench, Drill, Running},
    http::Http,
    hub::Hub,
    workload::new_space,
};

pub(crate) const DRILL: Drill = Drill {
    name: "L3",
    what: "thousands of clients of a killed hub come back at once, each a hundred messages behind",
    short: false,
    fits: |kind| kind.is_log() && kind.has_broker(),
    run,
};

/// Few, so that many clients miss the same messages, which hubs can read once for all.
const CHANNELS: usize = 50;
/// Published in each channel while its clients are away.
const MISSED: usize = 100;
/// With JSON's quotes 128 bytes.
const DATA: usize = 126;
/// For one client, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(storm(bench))
}

/// What a client had when its hub died.
struct Left {
    channel: usize,
    position: String,
}

fn channel(number: usize) -> String {
    format!("storm.{number}")
}

/// All must catch up, without a single read of the broker's log, and within 3 s in the long form.
async fn storm(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let clients = if bench.short { 1_000 } else { 5_000 };
    let mut hubs = hubs::start(bench, &new_space()?, 3).await?;
    let addresses: Vec<_> = hubs.iter().map(Hub::address).collect();
    let left = attach(addresses[0], addresses[1], clients).await?;
    // Killed, so that nobody is told where to go.
    hubs[0].kill().await?;

    let data = "x".repeat(DATA);
    let mut http = Http::new(addresses[1]);
    // In batches of ten for each channel.
    for _ in 0..MISSED / 10 {
        let batch: Vec<Value> = (0..10 * CHANNELS)
            .map(|n| json!({ "channel": channel(n % CHANNELS), "data": data }))
            .collect();
        hubs::publish(&mut http, &batch).await?;
    }
    // The reads of the two that are left.
    let reads = |hubs: &[Hub]| {
        let all: Vec<_> = hubs[1..].iter().map(Hub::address).collect();
        async move { read_count(&all).await }
    };
    let before = reads(&hubs).await?;
    // The same measurement in calm, to compare with.
    let calm = others(&addresses[1..], Duration::from_secs(3)).await?;
    let (over, is_over) = watch::channel(false);
    let meanwhile = tokio::spawn(others_until(addresses[1..].to_vec(), is_over));
    let start = Instant::now();
    // They are spread over both hubs.
    let back = left.into_iter().enumerate().map(|(n, left)| {
        let hub = addresses[1 + n % 2];
        tokio::spawn(async move { come_back(hub, &left).await.map(|()| start.elapsed()) })
    });
    let back: Vec<JoinHandle<Result<Duration>>> = back.collect();
    let mut times = Vec::new();
    let mut failed = Vec::new();
    for client in join_all(back).await {
        match client? {
            Ok(time) => times.push(time),
            Err(error) => failed.push(error.to_string()),
        }
    }
    // The others are measured until the last one has caught up.
    over.send_replace(true);
    let storm = meanwhile.await??;
    times.sort();
    let caused = reads(&hubs).await? - before;
    cell.figure("clients", clients as u64);
    cell.figure("caught_up_p50_ms", ms(at(&times, 0.5)));
    cell.figure("caught_up_all_ms", ms(at(&times, 1.0)));
    cell.figure("broker_reads", caused);
    cell.figure("others_p99_before_ms", ms(at(&calm, 0.99)));
    cell.figure("others_p99_meanwhile_ms", ms(at(&storm, 0.99)));
    cell.gate(
        failed.is_empty(),
        format!(
            "{} clients did not get all: {:?}",
            failed.len(),
            failed.first()
        ),
    );
    cell.gate(caused == 0.0, format!("{caused} reads of the broker's log"));
    let target = Duration::from_secs(3);
    // The short form is for debug builds on busy machines.
    cell.gate(
        bench.short || at(&times, 1.0) <= target,
        format!("not caught up within {target:?}"),
    );
    Ok(cell)
}

/// The clients of the hub that is to die, each with the position of its first message.
///
/// Connected to one hub, and published at another: so the message has gone through the broker.
async fn attach(hub: SocketAddr, publish_at: SocketAddr, clients: usize) -> Result<Vec<Left>> {
    let mut sockets = Vec::new();
    for chunk in (0..clients).collect::<Vec<_>>().chunks(200) {
        let some = chunk.iter().map(|n| async move {
            let channel = n % CHANNELS;
            let query = format!("?channel={}", self::channel(channel));
            let mut socket = Socket::connect(hub, &query).await?;
            socket.next_text(LIMIT).await.ok_or("not subscribed")?;
            Ok::<_, crate::Error>((channel, socket))
        });
        sockets.extend(try_join_all(some).await?);
    }
    let first: Vec<Value> = (0..CHANNELS)
        .map(|n| json!({ "channel": channel(n), "data": "first" }))
        .collect();
    hubs::publish(&mut Http::new(publish_at), &first).await?;
    let heard = sockets.into_iter().map(|(channel, mut socket)| async move {
        let text = socket.next_text(LIMIT).await.ok_or("no first message")?;
        let message: Value = serde_json::from_str(&text)?;
        let position = message["position"].as_str().ok_or("no position")?;
        Ok::<_, crate::Error>(Left {
            channel,
            position: position.to_owned(),
        })
    });
    try_join_all(heard).await
}

/// One client: connects, says where it was, and gets what it missed.
async fn come_back(hub: SocketAddr, left: &Left) -> Result<()> {
    let mut socket = Socket::connect(hub, "").await?;
    let subscribe = json!({
        "type": "subscribe", "ref": 1, "channel": channel(left.channel), "since": left.position,
    });
    socket.text(&subscribe.to_string()).await?;
    let reply = socket.next_text(LIMIT).await.ok_or("no answer")?;
    if !reply.contains("\"recovered\":true") {
        return Err(reply.into());
    }
    for n in 0..MISSED {
        let text = socket.next_text(LIMIT).await;
        let text = text.ok_or_else(|| format!("only {n} came"))?;
        if !text.starts_with("{\"type\":\"message\"") {
            return Err(text.into());
        }
    }
    Ok(())
}

/// How often these hubs have read the broker's log since their start.
async fn read_count(hubs: &[SocketAddr]) -> Result<f64> {
    let mut sum = 0.0;
    for hub in hubs {
        let (_, text) = crate::http::get(*hub, "/metrics").await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("hubplane_history_reads_total "));
        sum += line.ok_or("no such metric")?.parse::<f64>()?;
    }
    Ok(sum)
}

/// Delivery times of a channel that has nothing to do with the storm, for some time.
async fn others(hubs: &[SocketAddr], length: Duration) -> Result<Vec<Duration>> {
    let (over, is_over) = watch::channel(false);
    let hubs = hubs.to_vec();
    let times = tokio::spawn(others_until(hubs, is_over));
    tokio::time::sleep(length).await;
    over.send_replace(true);
    times.await?
}

/// Publishes at one hub and receives at the other, until it is over. Returns the times, sorted.
async fn others_until(
    hubs: Vec<SocketAddr>,
    is_over: watch::Receiver<bool>,
) -> Result<Vec<Duration>> {
    let mut http = Http::new(hubs[0]);
    let mut socket = Socket::connect(hubs[1], "?channel=others").await?;
    socket.next_text(LIMIT).await.ok_or("not subscribed")?;
    let mut times = Vec::new();
    while !*is_over.borrow() {
        let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let probe = json!({ "channel": "others", "data": sent.as_micros() as u64 });
        hubs::publish(&mut http, &[probe]).await?;
        socket.next_text(LIMIT).await.ok_or("the probe is lost")?;
        times.push(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)?
                .saturating_sub(sent),
        );
        // 50 messages a second are enough for a p99 and no load.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort();
    Ok(times)
}
