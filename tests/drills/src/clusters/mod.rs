//! Drills on clusters: real nodes that fail over, two hubs, and a plain client of the broker beside them.
//!
//! Each drill breaks or moves the node that leads what the hubs write to. The checker counts as in every other drill; a
//! drill of this folder also compares the hubs' longest pause of delivery with that of the plain client.

mod cluster;
mod event;
mod kafka;
mod notes;
mod pause;
mod probe;
mod rabbitmq;
mod redis;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, time::sleep};

use cluster::Cluster;
pub(crate) use cluster::Name;
pub(crate) use event::Event;
use probe::Probe;

use crate::{
    Result,
    cell::Cell,
    drill::Bench,
    drills::{Demands, judge},
    report,
    workload::{Settings, Workload},
};

/// How much longer than the broker's own pause the hubs may deliver nothing.
const ALLOWED: Duration = Duration::from_secs(2);
/// What is looked at after an event has ended: a pause may begin at its end, too.
const AFTER: Duration = Duration::from_secs(10);
/// Messages a second.
const RATE: u32 = 200;
const CLIENTS: usize = 20;
/// Few, so that each channel has 20 messages a second and a pause of one shows.
const CHANNELS: usize = 10;

/// Runs these events (all of them when none is named) on one cluster, which is started for it and ended after it.
///
/// `bench` says how to run: its backend is the cluster's own. An event that can't be carried out is a red cell, and the
/// others still run; an error means that the cluster did not start or end.
async fn all(cluster: &Cluster, mut bench: Bench, chosen: &[Event]) -> Result<Vec<Cell>> {
    let logs = bench.directory.clone();
    let mut cells = Vec::new();
    let events = if chosen.is_empty() {
        Event::ALL
    } else {
        chosen
    };
    for event in events {
        println!("== {event} on {}", cluster.name());
        bench.directory = logs.join(format!("{}-{event}", cluster.name()));
        fs::create_dir_all(&bench.directory)?;
        let start = Instant::now();
        let mut cell = match one(cluster, &bench, *event).await {
            Ok(cell) => cell,
            Err(error) => Cell {
                failures: vec![format!("the drill itself failed: {error}")],
                ..Cell::default()
            },
        };
        cell.drill = event.to_string();
        cluster.name().clone_into(&mut cell.backend);
        cell.seconds = start.elapsed().as_secs_f64();
        report::row(&cell);
        cells.push(cell);
        // Whatever the event left broken must not spoil the next one.
        cluster.repair().await?;
    }
    Ok(cells)
}

/// Starts the cluster, hands it to `all`, and ends it also when a drill failed.
pub(crate) async fn run(
    name: Name,
    logs: &Path,
    chosen: &[Event],
    bench: impl FnOnce(crate::backend::Backend) -> Bench,
) -> Result<Vec<Cell>> {
    let cluster = Cluster::start(name, &logs.join("clusters")).await?;
    let found = match cluster.backend(logs).await {
        Ok(backend) => all(&cluster, bench(backend), chosen).await,
        Err(error) => Err(error),
    };
    cluster.end().await?;
    found
}

/// One event on one cluster.
async fn one(cluster: &Cluster, bench: &Bench, event: Event) -> Result<Cell> {
    let mut cell = Cell::default();
    // It takes connections, because the kernel does, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let mut settings = settings(cluster, bench);
    // The first address of the hubs is a listener that never answers.
    if event == Event::Silent {
        let space = crate::workload::new_space()?;
        let authority = format!("{},{}", silent.local_addr()?, bench.backend.authority());
        let address = bench.backend.address_at(&authority, &space);
        settings.addresses = vec![address; settings.hubs];
        settings.space = Some(space);
    }
    let begun = Instant::now();
    let mut workload = Workload::start(bench, &settings).await?;
    cell.figure("start_ms", begun.elapsed().as_millis() as u64);
    let probe = Probe::start(cluster, &workload).await?;
    // Both sides publish and read for a moment before anything happens.
    sleep(Duration::from_secs(4)).await;
    let from = workload.now();
    event.carry_out(cluster, &mut workload, &mut cell).await?;
    sleep(AFTER).await;
    let to = workload.now();
    let verdict = workload.finish().await?;
    // The worst partition of the plain client against the worst channel of the hubs.
    let lanes = probe.end().await?.into_iter();
    let own = lanes.map(|lane| pause::longest(lane, from, to)).max();
    let own = own.ok_or("the plain client heard nothing")?;
    let hubs = pause::of_clients(&workload.directory, from, to)?;
    compare(&mut cell, own, hubs);
    cell.figure("rate", workload.rate());
    let demands = Demands {
        lossless: cluster.is_lossless(),
        native_may_be_lost: false,
        faults: 1,
    };
    judge(&mut cell, bench.backend.kind(), verdict, demands);
    Ok(cell)
}

/// Two hubs and a few clients: enough to see a pause, without loading the machine.
fn settings(cluster: &Cluster, bench: &Bench) -> Settings {
    Settings {
        hubs: 2,
        clients: CLIENTS,
        channels: CHANNELS,
        rate: bench.rate.unwrap_or(RATE),
        // Clients that come and go would have pauses of their own.
        restless: 0,
        // The drills' own publisher finds the leader by itself on Kafka alone.
        native: cluster.name() == "kafka",
        ..Settings::of(bench)
    }
}

/// The hubs may pause for as long as the broker's own client, and a little more.
fn compare(cell: &mut Cell, own: Duration, hubs: Duration) {
    cell.figure("broker_pause_ms", own.as_millis() as u64);
    cell.figure("pause_ms", hubs.as_millis() as u64);
    cell.gate(
        hubs <= own + ALLOWED,
        format!("the hubs paused {hubs:.1?}, the broker's own client {own:.1?}"),
    );
}
