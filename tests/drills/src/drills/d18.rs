//! D18: the soak. A quarter of the rate, a random fault each minute, and nothing may grow.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Demands, d01, judge};
use crate::{
    Result,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload, random::Random},
};

/// From here on memory must not grow: windows are full.
const WARM: Duration = Duration::from_secs(600);

pub(crate) const DRILL: Drill = Drill {
    name: "D18",
    what: "the workload at a quarter of its rate for an hour, with a random fault each minute",
    short: false,
    fits: |kind| kind.has_broker(),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(soak(bench))
}

/// Nothing may be lost, no file left open, and memory may grow by less than 1 MiB in ten minutes.
async fn soak(bench: &Bench) -> Result<Cell> {
    if !bench.backend.can_break() {
        return Ok(Cell::left_out("no script controls this broker"));
    }
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    settings.rate /= 4;
    let mut workload = Workload::start(bench, &settings).await?;
    let mut random = Random::new(bench.seed, 18);
    let start = Instant::now();
    let (mut kinds, mut faults) = ([0_u64; 4], 0);
    let mut resident: Vec<(f64, f64)> = Vec::new();
    let files = files(&workload)?;
    while start.elapsed() < Duration::from_secs(bench.minutes * 60) {
        let pause = Duration::from_secs(15 + random.below(30));
        sleep(pause).await;
        let kind = random.below(4) as usize;
        fault(bench, &mut workload, &mut random, kind).await?;
        kinds[kind] += 1;
        faults += 1;
        // A fault a minute, wherever in the minute it was.
        sleep(Duration::from_secs(60).saturating_sub(pause)).await;
        // A hub that was killed begins anew, and so does its memory.
        if kind != 2 {
            resident.push((start.elapsed().as_secs_f64(), total(&workload)? as f64));
        }
    }
    sleep(Duration::from_secs(10)).await;
    cell.figure("rate", workload.rate());
    cell.figure("broker_killed", kinds[0]);
    cell.figure("broker_frozen", kinds[1]);
    cell.figure("hub_killed", kinds[2]);
    cell.figure("hub_frozen", kinds[3]);
    let after = self::files(&workload)?;
    cell.figure("files_before", files);
    cell.figure("files_after", after);
    // Bytes a second to MiB in ten minutes.
    let slope = slope(&resident) * 600.0 / f64::from(1 << 20);
    cell.figure("mib_in_10_min", slope);
    // Ten minutes to warm up, and as many to measure.
    if start.elapsed() > 2 * WARM {
        cell.gate(
            slope < 1.0,
            format!("the hubs grow by {slope:.1} MiB in 10 minutes"),
        );
    } else {
        cell.note("too short to say whether memory grows");
    }
    let verdict = workload.finish().await?;
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

/// One fault: 0 kills the broker, 1 freezes it, 2 kills a hub, 3 freezes one.
async fn fault(
    bench: &Bench,
    workload: &mut Workload,
    random: &mut Random,
    kind: usize,
) -> Result<()> {
    let number = random.below(workload.hubs.len() as u64) as usize;
    match kind {
        0 => d01::kill(bench, workload).await?,
        1 => {
            bench.backend.freeze().await?;
            workload.fault("broker", Phase::Begin)?;
            sleep(random.between(500, 8000)).await;
            workload.fault("broker", Phase::Mend)?;
            bench.backend.control("thaw").await?;
            workload.fault("broker", Phase::End)?;
        }
        2 => {
            workload.hubs[number].kill().await?;
            workload.fault("hub", Phase::Begin)?;
            sleep(random.between(200, 3000)).await;
            workload.fault("hub", Phase::Mend)?;
            workload.hubs[number].again().await?;
            workload.hubs[number]
                .until_ready(true, Duration::from_secs(30))
                .await?;
            workload.fault("hub", Phase::End)?;
        }
        _ => {
            workload.hubs[number].signal("STOP").await?;
            workload.fault("hub", Phase::Begin)?;
            sleep(random.between(500, 5000)).await;
            workload.hubs[number].signal("CONT").await?;
            workload.fault("hub", Phase::End)?;
        }
    }
    Ok(())
}

/// Resident memory of all hubs, in bytes.
fn total(workload: &Workload) -> Result<u64> {
    workload.hubs.iter().map(crate::hub::Hub::resident).sum()
}

/// Open files of all hubs.
fn files(workload: &Workload) -> Result<usize> {
    workload.hubs.iter().map(crate::hub::Hub::files).sum()
}

/// Least squares, bytes a second, of what was measured after the warming up.
fn slope(points: &[(f64, f64)]) -> f64 {
    let points: Vec<_> = points
        .iter()
        .filter(|(t, _)| *t > WARM.as_secs_f64())
        .collect();
    let n = points.len() as f64;
    // A line through fewer points says nothing.
    if n < 3.0 {
        return 0.0;
    }
    let (x, y) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let above: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    above / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}
