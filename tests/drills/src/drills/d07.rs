//! D7: each hub is killed in turn; its clients go on at another.

use std::time::Duration;

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    bench::{Bench, Cell, Drill, Running},
    checker::Phase,
    workload::{Settings, Workload, random::Random},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D7",
    what: "each hub is killed with SIGKILL in turn",
    short: true,
    fits: |_| true,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(kills(bench))
}

async fn kills(bench: &Bench) -> Result<Cell> {
    let rounds = if bench.short { 1 } else { 10 };
    let kind = bench.backend.kind();
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    let mut random = Random::new(bench.seed, 7);
    let mut kills = 0;
    for _ in 0..rounds {
        for number in 0..workload.hubs.len() {
            sleep(random.between(2000, 4000)).await;
            let before = workload.hubs[number].pid()?;
            workload.hubs[number].kill().await?;
            workload.fault("hub", Phase::Begin)?;
            sleep(random.between(500, 2000)).await;
            workload.fault("hub", Phase::Mend)?;
            workload.hubs[number].again().await?;
            workload.hubs[number]
                .until_ready(true, Duration::from_secs(15))
                .await?;
            workload.fault("hub", Phase::End)?;
            kills += u64::from(workload.hubs[number].pid()? != before);
        }
    }
    sleep(Duration::from_secs(4)).await;
    cell.figure("rate", workload.rate());
    cell.figure("kills", kills);
    let verdict = workload.finish().await?;
    // The embedded backend's log dies with its hub; with a broker, another hub is there at once.
    if kind.has_broker() {
        let p99 = verdict.resume_ms.p99;
        cell.gate(
            p99 <= 2000,
            format!("99 % of the clients were back after {p99} ms, not 2,000"),
        );
        cell.figure("resume_p99_ms", p99);
    }
    if kind.is_log() && kind.has_broker() {
        let (back, of) = (verdict.recovered, verdict.resumes);
        cell.gate(back == of, format!("{back} of {of} resumes recovered"));
    }
    cell.note("presence is not checked here: conformance and end-to-end tests have it");
    let demands = Demands {
        lossless: kind.has_broker(),
        native_may_be_lost: false,
        faults: kills,
    };
    judge(&mut cell, kind, verdict, demands);
    Ok(cell)
}
