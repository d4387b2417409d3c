//! D5: a slow and uneven way to the broker is no fault: nothing is lost, and nothing is announced.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload, new_space},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D5",
    what: "everything between hubs and broker takes 100 to 300 ms each way",
    short: false,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(slow(bench))
}

/// Also a gap without a loss is a failure here: every client would recover for nothing.
async fn slow(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    // Pieces wait one behind the other, so that the order stays: few go through in a second.
    settings.rate = settings.rate.min(200);
    let space = new_space()?;
    let (valve, address) = bench.backend.valve(&space, bench.seed).await?;
    settings.addresses = vec![address; settings.hubs];
    settings.space = Some(space);
    let mut workload = Workload::start(bench, &settings).await?;
    sleep(Duration::from_secs(3)).await;
    workload.fault("slow", Phase::Begin)?;
    // Up to 200 ms more, at random, on top of the 100.
    valve.settings.jitter.store(200, Ordering::SeqCst);
    valve.settings.delay.store(100, Ordering::SeqCst);
    sleep(Duration::from_secs(if bench.short { 15 } else { 60 })).await;
    valve.settings.delay.store(0, Ordering::SeqCst);
    workload.fault("slow", Phase::End)?;
    sleep(Duration::from_secs(5)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    cell.figure("p99_ms", verdict.latency_ms.p99);
    // Otherwise the valve has done nothing.
    cell.gate(verdict.latency_ms.max >= 200, "nothing was slow");
    cell.gate(
        verdict.false_gaps == 0,
        format!("{} false gaps", verdict.false_gaps),
    );
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: true,
            native_may_be_lost: false,
            faults: 1,
        },
    );
    Ok(cell)
}
