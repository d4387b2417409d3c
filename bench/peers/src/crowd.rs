//! Sockets without messages: how fast they are opened and subscribed, and what memory they take while they wait.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Failure, measure::own_cpu, protocol::Protocol, sockets::open, table::Figure, target::Target,
    websocket::Opening,
};

/// For one socket to be opened and subscribed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sockets that come.
const COMING: usize = 3_000;
/// Of them at a time.
const AT_ONCE: usize = 128;
/// Sockets that wait.
const WAITING: usize = 10_000;
/// Until what opening them took is given back.
const REST: Duration = Duration::from_secs(3);

/// Opens so many sockets with these subscriptions, spread over all instances, some at a time; in their order.
pub(crate) async fn open_all(
    addresses: &[SocketAddr],
    protocol: &'static dyn Protocol,
    (count, at_once): (usize, usize),
    channels: impl Fn(usize) -> Vec<String>,
) -> Result<Vec<Opening>, Failure> {
    let mut opened = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for index in 0..count {
        if opening.len() == at_once
            && let Some(done) = opening.join_next().await
        {
            opened.push(done??);
        }
        let address = addresses[index % addresses.len()];
        let channels = channels(index);
        opening.spawn_local(async move {
            let socket = timeout(PATIENCE, open(protocol, address, channels)).await??;
            Ok::<_, Failure>((index, socket))
        });
    }
    while let Some(done) = opening.join_next().await {
        opened.push(done??);
    }
    opened.sort_by_key(|(index, _)| *index);
    Ok(opened.into_iter().map(|(_, socket)| socket).collect())
}

/// How many sockets a second get their subscription to one channel, and what each costs the servers.
pub(crate) async fn connects(target: &Target) -> Result<Vec<Figure>, Failure> {
    let protocol = target.protocol.protocol();
    let channel = protocol.channel("connects", 0);
    let (before, own, since) = (target.spent()?, own_cpu()?, Instant::now());
    let crowd = (COMING, AT_ONCE);
    let sockets = open_all(&target.addresses, protocol, crowd, |_| {
        vec![channel.clone()]
    })
    .await?;
    let elapsed = since.elapsed().as_secs_f64();
    let (after, own) = (target.spent()?, own_cpu()?.saturating_sub(own));
    drop(sockets);
    let spent = after.0.saturating_sub(before.0) + after.1.saturating_sub(before.1);
    Ok(vec![
        Figure::new("sockets/s", COMING as f64 / elapsed, 0),
        Figure::new(
            "CPU-µs a socket",
            spent.as_secs_f64() * 1e6 / COMING as f64,
            1,
        ),
        Figure::new("load: core", own.as_secs_f64() / elapsed, 2),
    ])
}

/// What a waiting socket takes, with a channel of its own and with one that all share. Counts from the servers' start: what
/// others have left behind would be taken for nothing.
pub(crate) async fn idle(target: &Target) -> Result<Vec<Figure>, Failure> {
    let protocol = target.protocol.protocol();
    let mut figures = Vec::new();
    for (what, own) in [
        ("PSS a socket, one channel for all", false),
        ("each with a channel of its own", true),
    ] {
        let name = |index: usize| protocol.channel("idle", if own { index } else { WAITING });
        let crowd = (WAITING, AT_ONCE);
        let sockets = open_all(&target.addresses, protocol, crowd, |index| {
            vec![name(index)]
        })
        .await?;
        sleep(REST).await;
        let more = target.memory()?.saturating_sub(target.fresh);
        drop(sockets);
        figures.push(Figure::new(what, more as f64 / WAITING as f64, 0));
        // All of them leave, before others come.
        sleep(REST).await;
    }
    Ok(figures)
}
