//! D9: clients that read too slowly, and one that reads nothing, on a channel with much traffic.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Demands, judge};
use crate::{
    Result,
    cell::Cell,
    checker::{self, Log, Spread, What},
    drill::{Bench, Drill, Running},
    workload::{Habit, Settings, Workload},
};

/// Clients that read a little; one more reads nothing.
const SLOW: usize = 20;
/// Seconds in which all of them must be cut off.
const DEAF: u64 = 18;
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

/// Slow clients must be cut off, and neither the others' latency nor the hubs' memory may suffer.
async fn slow(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    settings.odd = vec![Habit::Slow; SLOW];
    settings.odd.push(Habit::Deaf(DEAF));
    settings.hot = Some(HOT);
    let mut workload = Workload::start(bench, &settings).await?;
    let begin = workload.now();
    // After the start, which takes memory of its own.
    let before = resident(&workload)?;
    let mut peak = before;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(DEAF) {
        sleep(Duration::from_millis(500)).await;
        peak = peak.max(resident(&workload)?);
    }
    let mut counted = 0.0;
    for hub in &workload.hubs {
        counted += hub.metric("hubplane_slow_sessions_total").await?;
    }
    cell.figure("rate", workload.rate());
    cell.figure("hubplane_slow_sessions_total", counted);
    let end = workload.now();
    // From here on nobody is slow any more.
    workload.shared.hurry.store(true, Ordering::Relaxed);
    // The deaf one wakes up, and everybody reads what there is: the calm to compare with.
    sleep(Duration::from_secs(7)).await;
    let calm = workload.now();
    sleep(Duration::from_secs(6)).await;
    let last = workload.now();
    let verdict = workload.finish().await?;
    let (cut, codes) = cut_off(&workload, settings.clients)?;
    cell.figure("cut", cut);
    cell.figure("codes", codes);
    let all = settings.odd.len();
    cell.gate(
        cut == all,
        format!("{cut} of {all} slow clients were cut off within {DEAF} s"),
    );
    // By name: slow clients have the highest numbers.
    let others = |name: &str| name < format!("client-{:04}", settings.clients).as_str();
    let during = Spread::of(checker::latencies(&workload.directory, others, begin, end)?).p99;
    let after = Spread::of(checker::latencies(&workload.directory, others, calm, last)?).p99;
    cell.figure("others_p99_ms_during", during);
    cell.figure("others_p99_ms_after", after);
    // A fifth, or what two busy cores make of anything; the short round shares them with other brokers' drills.
    let noise = if bench.short { 400 } else { 100 };
    cell.gate(
        during <= (after * 6 / 5).max(after + noise),
        format!("the others' p99 was {during} ms beside {after} ms"),
    );
    let grown = peak.saturating_sub(before) / MIB;
    cell.figure("hubs_grew_mib", grown);
    // 1 MiB a slow client; the windows, which hold what is recent on each hub, also for those that come back; and what
    // allocators keep of the bursts.
    let most = SLOW as u64 + 1 + 100 * workload.hubs.len() as u64;
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

/// How many of the slow clients were cut off, and by which codes.
fn cut_off(workload: &Workload, first: usize) -> Result<(usize, Vec<u16>)> {
    let (mut cut, mut codes) = (0, Vec::new());
    for number in first..first + SLOW + 1 {
        let log = Log::read(&workload.directory.join(format!("client-{number:04}.jsonl")))?;
        let closed = log.records.iter().find_map(|record| match record.what {
            // The first close is the hub's; later ones are of other connections.
            What::Closed { code } => Some(code),
            _ => None,
        });
        cut += usize::from(closed.is_some());
        codes.extend(closed.filter(|code| !codes.contains(code)));
    }
    Ok((cut, codes))
}

/// Resident memory of all hubs, in bytes.
fn resident(workload: &Workload) -> Result<u64> {
    workload.hubs.iter().map(crate::hub::Hub::resident).sum()
}
