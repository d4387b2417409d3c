//! D21: the master that the hubs are on becomes the replica of another server, and a master again. A replica takes what is
//! published to it and gives it to its own subscribers alone, so a hub must neither stay there nor say that all is well.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    backend::{Backend, Kind},
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload, resp::Resp},
};

/// A hub says so within this, as everywhere.
const NOTICED: Duration = Duration::from_millis(3_500);

pub(crate) const DRILL: Drill = Drill {
    name: "D21",
    what: "the master is demoted to a replica, and promoted again",
    short: true,
    fits: |kind| matches!(kind, Kind::Redis | Kind::RedisStreams),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(demoted(bench))
}

async fn demoted(bench: &Bench) -> Result<Cell> {
    // The script makes a server of a folder of this name.
    let directory = bench.directory.join("other/redis");
    std::fs::create_dir_all(&directory)?;
    let other = bench.backend.another(&directory).await?;
    let outcome = between(bench, &other).await;
    // Whatever became of it, the master is one again for the drills behind this one.
    let promoted = replica_of(&bench.backend, None).await;
    other.end().await?;
    promoted?;
    outcome
}

/// Makes a server another's replica, or a master.
async fn replica_of(server: &Backend, master: Option<&Backend>) -> Result<()> {
    let (host, port) = match master.map(Backend::authority) {
        Some(authority) => authority.split_once(':').ok_or("no port")?,
        None => ("NO", "ONE"),
    };
    let mut link = Resp::connect(server.authority()).await?;
    link.ask(&["REPLICAOF", host, port]).await.map(drop)
}

/// Hubs must notice that their server takes nothing any more, and come back after its promotion.
async fn between(bench: &Bench, other: &Backend) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    // A replica takes PUBLISH from other programs and keeps it to itself: that is between them and their server.
    settings.native = false;
    let mut workload = Workload::start(bench, &settings).await?;
    // It has all that the master has, as before a planned switch.
    replica_of(other, Some(&bench.backend)).await?;
    sleep(Duration::from_secs(3)).await;
    replica_of(other, None).await?;
    replica_of(&bench.backend, Some(other)).await?;
    // Named so, an answer that says “published” meanwhile counts as dishonest.
    workload.fault("broker", Phase::Begin)?;
    let start = Instant::now();
    let mut noticed = vec![None; workload.hubs.len()];
    // Watched to the end, as a hub might come back too early.
    while start.elapsed() < Duration::from_secs(if bench.short { 6 } else { 20 }) {
        for (hub, noticed) in workload.hubs.iter().zip(&mut noticed) {
            if noticed.is_none() && !matches!(hub.ready().await, Ok(Ok(()))) {
                *noticed = Some(start.elapsed());
            }
        }
        sleep(Duration::from_millis(25)).await;
    }
    // At the end of the time no hub may claim to be ready.
    for hub in &workload.hubs {
        let ready = hub.ready().await?;
        cell.gate(
            ready.is_err(),
            format!("{}: ready at a replica", hub.node()),
        );
    }
    workload.fault("broker", Phase::Mend)?;
    replica_of(&bench.backend, None).await?;
    workload.fault("broker", Phase::End)?;
    for (hub, noticed) in workload.hubs.iter().zip(noticed) {
        let ms = noticed.map(|after: Duration| after.as_millis() as u64);
        cell.figure(&format!("noticed_ms_{}", hub.node()), ms);
        cell.gate(
            noticed.is_some_and(|after| after <= NOTICED),
            format!("{}: it said so after {ms:?} ms", hub.node()),
        );
        let back = hub.until_ready(true, Duration::from_secs(10)).await;
        cell.gate(back.is_ok(), format!("{}: {back:?}", hub.node()));
    }
    sleep(Duration::from_secs(5)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            // What the master had taken and its copy had not is gone.
            lossless: false,
            native_may_be_lost: false,
            faults: 1,
        },
    );
    Ok(cell)
}
