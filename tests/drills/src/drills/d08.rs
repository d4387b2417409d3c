//! D8: the hubs are stopped and started one after another, as when a new build is rolled out.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Demands, judge};
use crate::{
    Result,
    cell::Cell,
    checker::{Log, Phase, What},
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload},
};

/// Seconds over which a hub lets its clients go.
const DRAIN_S: u64 = 25;
/// Closes are counted in windows of half a second.
const WINDOW: u64 = 500_000;

pub(crate) const DRILL: Drill = Drill {
    name: "D8",
    what: "each hub is stopped with SIGTERM in turn, drains, and is started again",
    short: false,
    fits: |kind| kind.has_broker(),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(roll(bench))
}

/// No publish may fail, all closes must be 1012, and no more than 5 % of them in half a second.
async fn roll(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    settings.clients = if bench.short { 600 } else { 1800 };
    // Restless clients would end connections of their own.
    settings.restless = 0;
    // More clients than usual, so fewer messages.
    settings.rate /= 4;
    settings.options = vec!["--drain".to_owned(), format!("{DRAIN_S}s")];
    let mut workload = Workload::start(bench, &settings).await?;
    let mut drains = Vec::new();
    for number in 0..workload.hubs.len() {
        sleep(Duration::from_secs(3)).await;
        let from = workload.now();
        workload.fault("hub", Phase::Begin)?;
        let start = Instant::now();
        // SIGTERM, as every orchestrator ends a process.
        workload.hubs[number].signal("TERM").await?;
        let status = workload.hubs[number]
            .wait(Duration::from_secs(DRAIN_S + 15))
            .await?;
        cell.gate(
            status.success(),
            format!("hub {number} ended with {status}"),
        );
        cell.figure(
            &format!("drain_s_hub_{number}"),
            start.elapsed().as_secs_f64(),
        );
        drains.push((from, workload.now()));
        workload.fault("hub", Phase::Mend)?;
        workload.hubs[number].again().await?;
        workload.hubs[number]
            .until_ready(true, Duration::from_secs(30))
            .await?;
        workload.fault("hub", Phase::End)?;
    }
    sleep(Duration::from_secs(3)).await;
    // Logs are complete only after the end.
    let verdict = workload.finish().await?;
    for (number, (from, to)) in drains.iter().enumerate() {
        spread(&workload, &mut cell, number, (*from, *to))?;
    }
    let lost = verdict.refused + verdict.unknown;
    cell.gate(lost == 0, format!("{lost} publishes got no 200 at any hub"));
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: true,
            native_may_be_lost: false,
            faults: 3,
        },
    );
    Ok(cell)
}

/// The fullest half second of one drain.
fn spread(
    workload: &Workload,
    cell: &mut Cell,
    number: usize,
    (from, to): (u64, u64),
) -> Result<()> {
    let mut times = Vec::new();
    let mut other = 0;
    for entry in std::fs::read_dir(&workload.directory)? {
        let path = entry?.path();
        if !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("client-"))
        {
            continue;
        }
        for record in Log::read(&path)?.records {
            if let What::Closed { code } = record.what
                && (from..to).contains(&record.t)
            {
                if code == 1012 {
                    times.push(record.t)
                } else {
                    other += 1
                }
            }
        }
    }
    times.sort_unstable();
    let fullest = times.iter().enumerate().map(|(at, t)| {
        times[at..]
            .iter()
            .take_while(|later| **later < t + WINDOW)
            .count()
    });
    let fullest = fullest.max().unwrap_or(0);
    // A drain of 25 s has 2 % in each half second if it is even.
    let share = 100.0 * fullest as f64 / times.len().max(1) as f64;
    cell.figure(&format!("closes_hub_{number}"), times.len());
    cell.figure(&format!("fullest_half_second_percent_hub_{number}"), share);
    cell.gate(
        !times.is_empty(),
        format!("hub {number}: nobody was closed with 1012"),
    );
    // Of few closes, one is already a large part.
    let most = 5.0_f64.max(400.0 / times.len().max(1) as f64);
    cell.gate(
        share <= most,
        format!(
            "hub {number}: {share:.1} % of {} closes in half a second",
            times.len()
        ),
    );
    cell.gate(
        other == 0,
        format!("hub {number}: {other} closes by another code than 1012"),
    );
    Ok(())
}
