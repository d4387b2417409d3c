//! D3: one hub is cut off from the broker, in both directions and in each alone; the other two are not.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{
        Settings, Workload, new_space,
        valve::{Settings as Set, Valve},
    },
};

/// By then the hub that is cut off must say that it is not ready.
const NOTICED: Duration = Duration::from_millis(3500);

pub(crate) const DRILL: Drill = Drill {
    name: "D3",
    what: "one hub of three is cut off from the broker: both ways, one way in, one way out",
    short: true,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(cut_off(bench))
}

/// Only the first hub's way leads through the valve; the others must not notice anything.
async fn cut_off(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    let space = new_space()?;
    let (valve, address) = bench.backend.valve(&space, bench.seed).await?;
    // The first address is the first hub's; the others use the backend's own.
    settings.addresses = vec![address];
    settings.space = Some(space);
    let mut workload = Workload::start(bench, &settings).await?;
    let seconds = Duration::from_secs(if bench.short { 7 } else { 20 });
    for (name, inwards, outwards) in [
        ("both", true, true),
        ("in", true, false),
        ("out", false, true),
    ] {
        sleep(Duration::from_secs(3)).await;
        once(
            &mut workload,
            &mut cell,
            &valve,
            (name, inwards, outwards),
            seconds,
        )
        .await?;
    }
    sleep(Duration::from_secs(5)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
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

/// One cut. The valve holds bytes up and closes nothing, as a firewall does that forgets a
/// connection.
async fn once(
    workload: &mut Workload,
    cell: &mut Cell,
    valve: &Valve,
    (name, inwards, outwards): (&str, bool, bool),
    seconds: Duration,
) -> Result<()> {
    let held = valve.settings.held.load(Ordering::SeqCst);
    Set::set(&valve.settings.in_shut, inwards);
    Set::set(&valve.settings.out_shut, outwards);
    workload.fault("cut", Phase::Begin)?;
    let start = Instant::now();
    let mut noticed = None;
    let mut others = 0;
    while start.elapsed() < seconds {
        if noticed.is_none() && !matches!(workload.hubs[0].ready().await, Ok(Ok(()))) {
            noticed = Some(start.elapsed());
        }
        // The others are asked as often.
        for hub in &workload.hubs[1..] {
            others += u64::from(!matches!(hub.ready().await, Ok(Ok(()))));
        }
        sleep(Duration::from_millis(25)).await;
    }
    // The proof that something was cut: bytes were waiting.
    let held = valve.settings.held.load(Ordering::SeqCst) - held;
    Set::set(&valve.settings.in_shut, false);
    Set::set(&valve.settings.out_shut, false);
    workload.fault("cut", Phase::End)?;
    // The same connection may go on, or a new one; both are fine.
    let back = workload.hubs[0]
        .until_ready(true, Duration::from_secs(15))
        .await;
    let ms = noticed.map(|after| after.as_millis() as u64);
    cell.figure(&format!("noticed_ms_{name}"), ms);
    cell.gate(held > 0, format!("{name}: nothing was held up"));
    cell.gate(
        noticed.is_some_and(|after| after <= NOTICED),
        format!("{name}: the hub said so after {ms:?} ms"),
    );
    cell.gate(
        others == 0,
        format!("{name}: the other hubs were not ready {others} times"),
    );
    cell.gate(
        back.as_ref().is_ok_and(|after| after.as_secs() < 10),
        format!("{name}: ready again after {back:?}"),
    );
    Ok(())
}
