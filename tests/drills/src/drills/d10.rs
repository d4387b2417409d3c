//! D10: one hub gets a fifth of the processor's time while a flood comes from the broker.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{Demands, judge};
use crate::{
    Result,
    backend::{Kind, signal},
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Habit, Settings, Workload},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D10",
    what: "one hub runs a fifth of the time, under 8 MB/s from the broker",
    short: false,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(starve(bench))
}

/// Losses may be announced, since the hub really does not keep up; silence is a failure.
async fn starve(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    // The hot channel is the load here.
    settings.rate /= 2;
    settings.hot = Some((2000, 4096));
    settings.odd = vec![Habit::Steady; 3];
    let mut workload = Workload::start(bench, &settings).await?;
    let pid = workload.hubs[0].pid()?;
    workload.fault("starved", Phase::Begin)?;
    let (stop, stopped) = oneshot::channel();
    let pauses = tokio::spawn(duty(pid, stopped));
    sleep(Duration::from_secs(if bench.short { 12 } else { 25 })).await;
    _ = stop.send(());
    let pauses = pauses.await??;
    workload.fault("starved", Phase::End)?;
    cell.figure("pauses", pauses);
    // The proof that the hub was starved; each pause is a fifth of a second with its run.
    cell.gate(
        pauses > 30,
        format!("the hub was paused {pauses} times only"),
    );
    sleep(Duration::from_secs(5)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    // A hub that runs a fifth of the time may also be found deaf, and says so.
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

/// 160 ms stopped, 40 ms running, until told to end.
async fn duty(pid: u32, mut stopped: oneshot::Receiver<()>) -> Result<u64> {
    let (mut pauses, start) = (0, Instant::now());
    // A limit of its own, so that a hub can't stay stopped if the drill fails.
    while stopped.try_recv().is_err() && start.elapsed() < Duration::from_secs(120) {
        signal(pid, "STOP").await?;
        sleep(Duration::from_millis(160)).await;
        signal(pid, "CONT").await?;
        sleep(Duration::from_millis(40)).await;
        pauses += 1;
    }
    Ok(pauses)
}
