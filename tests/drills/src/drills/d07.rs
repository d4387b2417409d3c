//! D7: each hub is killed in turn; its clients go on at another, and who was there through it leaves once, or never was
//! away.

mod history;
mod presence;

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

use self::presence::{Room, Times};
use super::{Demands, judge};
use crate::{
    Result,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
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

/// Clients must be back within 2 s (99 %), all of them recovered on a log, and presence must be
/// told rightly.
async fn kills(bench: &Bench) -> Result<Cell> {
    let rounds = if bench.short { 1 } else { 10 };
    let kind = bench.backend.kind();
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    // A short round can't wait for the usual 15 s of presence.
    let times = if bench.short && kind.has_broker() {
        let file = bench.directory.join("hub.toml");
        fs::write(&file, Times::SHORT.file())?;
        settings.options = vec!["--config".to_owned(), file.to_string_lossy().into_owned()];
        Times::SHORT
    } else {
        Times::USUAL
    };
    let mut workload = Workload::start(bench, &settings).await?;
    let mut random = Random::new(bench.seed, 7);
    let mut kills = 0;
    if kind.has_broker() {
        kills += attended(&mut workload, &mut random, times, &mut cell, bench.seed).await?;
    } else {
        cell.note("presence: no other hub is there to tell of it");
    }
    // One round was done with members; without a broker, none was.
    for _ in kills.min(1)..rounds {
        for number in 0..workload.hubs.len() {
            sleep(random.between(2000, 4000)).await;
            kills += u64::from(kill(&mut workload, number, &mut random).await?);
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
    // On a log, every resume must find its place.
    if kind.is_log() && kind.has_broker() {
        let (back, of) = (verdict.recovered, verdict.resumes);
        cell.gate(back == of, format!("{back} of {of} resumes recovered"));
    }
    let demands = Demands {
        lossless: kind.has_broker(),
        native_may_be_lost: false,
        faults: kills,
    };
    judge(&mut cell, kind, verdict, demands);
    Ok(cell)
}

/// The first round, with members on each hub; kills that took place.
async fn attended(
    workload: &mut Workload,
    random: &mut Random,
    times: Times,
    cell: &mut Cell,
    seed: u64,
) -> Result<u64> {
    let hubs = workload.hubs.iter().map(|hub| hub.address()).collect();
    let mut room = Room::new(hubs, times, seed);
    let mut kills = 0;
    for number in 0..workload.hubs.len() {
        // Listening to the end after a kill is the longer pause.
        let pause = sleep(random.between(0, 1500));
        let (watchers, ()) = tokio::join!(room.gather(number), pause);
        let watchers = watchers?;
        let killed = Instant::now();
        let parting = room.part(number, killed, watchers);
        let (killed, parted) = tokio::join!(kill(workload, number, random), parting);
        parted?;
        kills += u64::from(killed?);
    }
    room.agree().await?;
    room.report(cell);
    Ok(kills)
}

/// Kills a hub and starts it again; whether it is another process then.
async fn kill(workload: &mut Workload, number: usize, random: &mut Random) -> Result<bool> {
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
    Ok(workload.hubs[number].pid()? != before)
}
