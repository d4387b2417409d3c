//! D1: the broker is killed, again and again, and started at once.

use std::time::Duration;

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    backend::{Kind, signal},
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload, random::Random},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D1",
    what: "the broker is killed with SIGKILL and started at once",
    short: true,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(kills(bench))
}

/// On a log nothing may be lost; elsewhere it is told how much was, and all of it must be
/// announced.
async fn kills(bench: &Bench) -> Result<Cell> {
    if !bench.backend.can_break() {
        return Ok(Cell::left_out("no script controls this broker"));
    }
    let kills = if bench.short { 3 } else { 20 };
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    let mut random = Random::new(bench.seed, 1);
    for _ in 0..kills {
        // At any moment of what the hubs do: the seed makes it the same again.
        sleep(random.between(3000, 10_000)).await;
        kill(bench, &mut workload).await?;
    }
    // Time to heal after the last kill.
    sleep(random.between(5000, 10_000)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    if !bench.backend.kind().is_log() {
        cell.figure(
            "announced_of_expected",
            verdict.announced as f64 / verdict.expected.max(1) as f64,
        );
    }
    let demands = Demands {
        lossless: true,
        native_may_be_lost: false,
        faults: kills,
    };
    judge(&mut cell, bench.backend.kind(), verdict, demands);
    Ok(cell)
}

/// One kill, and the proof that it was one.
pub(crate) async fn kill(bench: &Bench, workload: &mut Workload) -> Result<()> {
    kill_for(bench, workload, Duration::ZERO).await
}

/// The same, and started only after a while.
pub(crate) async fn kill_for(bench: &Bench, workload: &mut Workload, dead: Duration) -> Result<()> {
    let before = bench.backend.pid()?;
    // By its process id and not by the script, which takes longer to return.
    signal(before, "KILL").await?;
    // Only now is it surely dead: what is accepted from here on is accepted by nobody.
    workload.fault("broker", Phase::Begin)?;
    // The script knows what else belongs to the broker, and returns when all of it is gone.
    bench.backend.control("kill").await?;
    sleep(dead).await;
    workload.fault("broker", Phase::Mend)?;
    bench.backend.control("start").await?;
    workload.fault("broker", Phase::End)?;
    // A broker that survived would make the drill pass for nothing.
    if bench.backend.pid()? == before {
        return Err("the broker was not killed".into());
    }
    Ok(())
}
