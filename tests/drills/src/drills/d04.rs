//! D4: the way to the broker comes and goes, for all hubs at once; then it is bad in other ways.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    hub::Hub,
    workload::{
        Settings, Workload, new_space,
        valve::{Settings as Set, Valve},
    },
};

pub(crate) const DRILL: Drill = Drill {
    name: "D4",
    what: "the way to the broker flaps every 2 s; then resets, silence, single bytes, cut after 100 bytes",
    short: false,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(flap(bench))
}

/// Nothing may be lost, and neither files nor attempts to connect may pile up.
async fn flap(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    let space = new_space()?;
    let (valve, address) = bench.backend.valve(&space, bench.seed).await?;
    // All hubs go through the valve.
    settings.addresses = vec![address; settings.hubs];
    settings.space = Some(space);
    let mut workload = Workload::start(bench, &settings).await?;
    // What the hubs have open before anything happens.
    let files: usize = workload
        .hubs
        .iter()
        .map(Hub::files)
        .sum::<Result<usize>>()?;
    flaps(bench, &mut workload, &mut cell, &valve).await?;
    // Single bytes, and a connection that breaks after 100 of them: both break up frames.
    let limits: [(&str, &std::sync::atomic::AtomicU64, u64); 2] = [
        ("bytes", &valve.settings.slice, 1),
        ("limit", &valve.settings.limit, 100),
    ];
    for (name, setting, value) in limits {
        workload.fault(name, Phase::Begin)?;
        setting.store(value, Ordering::SeqCst);
        // The limit holds for new connections only.
        if name == "limit" {
            valve.cut();
        }
        sleep(Duration::from_secs(4)).await;
        setting.store(0, Ordering::SeqCst);
        workload.fault(name, Phase::End)?;
        sleep(Duration::from_secs(4)).await;
    }
    // Silence both ways, without a connection's end.
    workload.fault("silence", Phase::Begin)?;
    Set::set(&valve.settings.in_shut, true);
    Set::set(&valve.settings.out_shut, true);
    sleep(Duration::from_secs(5)).await;
    Set::set(&valve.settings.in_shut, false);
    Set::set(&valve.settings.out_shut, false);
    workload.fault("silence", Phase::End)?;
    sleep(Duration::from_secs(8)).await;
    let after: usize = workload
        .hubs
        .iter()
        .map(Hub::files)
        .sum::<Result<usize>>()?;
    cell.figure("files_before", files);
    cell.figure("files_after", after);
    // Clients come and go by themselves: a handful is no growth.
    cell.gate(
        after <= files + 30,
        format!("{files} open files became {after}"),
    );
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: true,
            native_may_be_lost: false,
            faults: 5,
        },
    );
    Ok(cell)
}

/// Flaps several times, and counts how often the hubs try to connect meanwhile.
async fn flaps(
    bench: &Bench,
    workload: &mut Workload,
    cell: &mut Cell,
    valve: &Valve,
) -> Result<()> {
    let (mut down, mut attempts) = (Duration::ZERO, 0);
    for _ in 0..if bench.short { 4 } else { 15 } {
        let before = valve.settings.accepted.load(Ordering::SeqCst);
        let start = Instant::now();
        workload.fault("flap", Phase::Begin)?;
        // Refusing comes first, or hubs would be back before it.
        Set::set(&valve.settings.refuses, true);
        valve.cut();
        sleep(Duration::from_secs(2)).await;
        down += start.elapsed();
        attempts += valve.settings.accepted.load(Ordering::SeqCst) - before;
        Set::set(&valve.settings.refuses, false);
        workload.fault("flap", Phase::End)?;
        sleep(Duration::from_secs(2)).await;
    }
    let rate = attempts as f64 / down.as_secs_f64() / workload.hubs.len() as f64;
    cell.figure("attempts_a_second_and_hub", rate);
    // Two or three connections a hub, and quick first tries after each cut. librdkafka keeps three for each of three
    // clients, and its waits can't be spread wider than a second.
    let most = match bench.backend.kind() {
        Kind::Kafka => 20.0,
        _ => 12.0,
    };
    cell.gate(
        rate <= most,
        format!("{rate:.1} connections a second and hub to a broker that refuses"),
    );
    Ok(())
}
