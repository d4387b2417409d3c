//! D9: clients that read too slowly, and one that reads nothing, on a channel with much traffic.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Demands, judge};
use crate::{
    Result,
    bench::{Bench, Cell, Drill, Running},
    checker::{self, Spread},
    workload::{Habit, Settings, Workload},
};

const SLOW: usize = 20;
const DEAF: u64 = 30;
/// Of the hot channel: enough to fill what kernel and hub keep for a client within seconds.
const HOT: (u32, usize) = (40, 16_000);
const MIB: u64 = 1 << 20;

pub(crate) const DRILL: Drill = Drill {
    name: "D9",
    what: "20 clients read a little a second and one nothing, on a channel with 640 kB/s",
    short: true,
    fits: |_| true,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(slow(bench))
}

async fn slow(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    settings.odd = vec![Habit::Slow; SLOW];
    settings.odd.push(Habit::Deaf(DEAF));
    settings.hot = Some(HOT);
    let mut workload = Workload::start(bench, &settings).await?;
    let begin = workload.now();
    let before = resident(&workload)?;
    let mut peak = before;
    let start = Instant::now();
    let mut cut = 0.0;
    while start.elapsed() < Duration::from_secs(40) {
        sleep(Duration::from_millis(500)).await;
        peak = peak.max(resident(&workload)?);
        cut = 0.0;
        for hub in &workload.hubs {
            cut += hub.metric("hubplane_slow_sessions_total").await?;
        }
        if cut >= (SLOW + 1) as f64 {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    cell.figure("rate", workload.rate());
    cell.figure("cut", cut);
    cell.figure("cut_after_s", seconds);
    cell.gate(
        cut >= (SLOW + 1) as f64,
        format!(
            "{cut} of {} slow clients were cut off in {seconds:.0} s",
            SLOW + 1
        ),
    );
    let end = workload.now();
    workload.shared.hurry.store(true, Ordering::Relaxed);
    // The deaf one wakes up, and everybody reads what there is: the calm to compare with.
    sleep(Duration::from_secs(12)).await;
    let calm = workload.now();
    sleep(Duration::from_secs(8)).await;
    let last = workload.now();
    let verdict = workload.finish().await?;
    let others = |name: &str| name < format!("client-{:04}", settings.clients).as_str();
    let during = Spread::of(checker::latencies(&workload.directory, others, begin, end)?).p99;
    let after = Spread::of(checker::latencies(&workload.directory, others, calm, last)?).p99;
    cell.figure("others_p99_ms_during", during);
    cell.figure("others_p99_ms_after", after);
    // A fifth, or what two busy cores make of anything.
    cell.gate(
        during <= (after * 6 / 5).max(after + 50),
        format!("the others' p99 was {during} ms beside {after} ms"),
    );
    let grown = peak.saturating_sub(before) / MIB;
    cell.figure("hubs_grew_mib", grown);
    // 1 MiB a slow client, and the windows, which hold what is recent on each hub.
    let most = SLOW as u64 + 1 + 72 * workload.hubs.len() as u64;
    cell.gate(
        grown <= most,
        format!("the hubs grew by {grown} MiB, more than {most}"),
    );
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: true,
            native_may_be_lost: false,
            faults: 0,
        },
    );
    Ok(cell)
}

fn resident(workload: &Workload) -> Result<u64> {
    workload.hubs.iter().map(crate::hub::Hub::resident).sum()
}
