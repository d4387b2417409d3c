//! D2: the broker stands still for a while, without a word to anybody.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    http::Http,
    workload::{Settings, Workload},
};

/// By then the hub must have noticed, and `/ready` must say so.
const NOTICED: Duration = Duration::from_millis(3500);
/// A publish must be answered by then, whatever the answer is: 5 s by the contract, and 1 s for the
/// way.
const ANSWERED: Duration = Duration::from_secs(6);

pub(crate) const DRILL: Drill = Drill {
    name: "D2",
    what: "the broker is frozen with SIGSTOP for 1, 5 and 30 s",
    short: false,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(freeze(bench))
}

/// A frozen broker keeps its connections open, so only silence tells that something is wrong.
async fn freeze(bench: &Bench) -> Result<Cell> {
    if !bench.backend.can_break() {
        return Ok(Cell::left_out("no script controls this broker"));
    }
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    let lengths: &[u64] = if bench.short { &[1, 5] } else { &[1, 5, 30] };
    for seconds in lengths {
        // The hubs must be whole again before the next freeze.
        sleep(Duration::from_secs(4)).await;
        once(bench, &mut workload, &mut cell, *seconds).await?;
        sleep(Duration::from_secs(8)).await;
    }
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    let faults = lengths.len() as u64;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: true,
            native_may_be_lost: false,
            faults,
        },
    );
    Ok(cell)
}

/// One freeze of so many seconds: when a hub notices, and when a publish is answered.
async fn once(bench: &Bench, workload: &mut Workload, cell: &mut Cell, seconds: u64) -> Result<()> {
    bench.backend.freeze().await?;
    workload.fault("broker", Phase::Begin)?;
    let frozen = Instant::now();
    let asked = ask(workload.hubs[0].address());
    // Two different hubs are asked, so that one question does not delay the other.
    let mut noticed = None;
    while frozen.elapsed() < Duration::from_secs(seconds) {
        if noticed.is_none() && !matches!(workload.hubs[1].ready().await, Ok(Ok(()))) {
            noticed = Some(frozen.elapsed());
        }
        sleep(Duration::from_millis(20)).await;
    }
    workload.fault("broker", Phase::Mend)?;
    bench.backend.control("thaw").await?;
    workload.fault("broker", Phase::End)?;
    // A second is too short to be noticed, and need not be.
    if seconds >= 5 {
        let ms = noticed.map(|after| after.as_millis() as u64);
        cell.figure(&format!("ready_503_ms_in_{seconds}_s"), ms);
        cell.gate(
            noticed.is_some_and(|after| after <= NOTICED),
            format!("frozen {seconds} s: not ready after {ms:?} ms"),
        );
    }
    let (status, after) = timeout(Duration::from_secs(20), asked).await??;
    cell.figure(
        &format!("publish_answered_ms_in_{seconds}_s"),
        after.as_millis() as u64,
    );
    cell.gate(
        after <= ANSWERED,
        format!("a publish into a frozen broker was answered {status} after {after:?}"),
    );
    Ok(())
}

/// A publish of its own, on a channel that nobody reads: its answer and how long it took.
fn ask(hub: std::net::SocketAddr) -> oneshot::Receiver<(u16, Duration)> {
    let (answer, asked) = oneshot::channel();
    tokio::spawn(async move {
        let start = Instant::now();
        let status = match Http::new(hub)
            .post("/v1/publish", r#"{"channel":"probe","data":1}"#)
            .await
        {
            Ok((status, _)) => status,
            // 0 stands for no answer at all.
            Err(_) => 0,
        };
        _ = answer.send((status, start.elapsed()));
    });
    asked
}
