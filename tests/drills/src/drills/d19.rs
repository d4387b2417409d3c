//! D19: an outside producer puts a channel's messages into other lanes than the hub would, as one with another partitioner
//! does. Whoever was there hears them all; whoever comes back is given them, or told that some may be missing.

use std::time::Duration;

use tokio::time::sleep;

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
    name: "D19",
    what: "a producer with another partitioner: a channel's messages lie in two lanes",
    short: true,
    // The others have one lane.
    fits: |kind| matches!(kind, Kind::Kafka | Kind::RedisStreams),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(astray(bench))
}

/// Order can't hold over two lanes, and what is missing may be announced; silence and repetitions
/// are failures.
async fn astray(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    settings.astray = true;
    // Many that come and go: each return reads from a position that knows one lane only.
    settings.restless = 40;
    let mut workload = Workload::start(bench, &settings).await?;
    sleep(Duration::from_secs(if bench.short { 12 } else { 60 })).await;
    // A hub that starts now has seen none of it, and gets clients that come back.
    workload.hubs[0].kill().await?;
    workload.fault("hub", Phase::Begin)?;
    sleep(Duration::from_secs(1)).await;
    workload.fault("hub", Phase::Mend)?;
    workload.hubs[0].again().await?;
    let back = workload.hubs[0].until_ready(true, Duration::from_secs(30));
    back.await?;
    workload.fault("hub", Phase::End)?;
    sleep(Duration::from_secs(8)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: false,
            native_may_be_lost: false,
            faults: 1,
        },
    );
    Ok(cell)
}
