//! D13: the hubs' clocks are hours apart. Nothing that counts may be counted by a clock.

use std::{fs, time::Duration};

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    bench::{Bench, Cell, Drill, Running},
    checker::Phase,
    workload::{Settings, Workload},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D13",
    what: "one hub's clock is two hours ahead, another's two behind; a hub is killed meanwhile",
    short: false,
    fits: |kind| kind.has_broker(),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(clocks(bench))
}

/// Where Debian puts it.
fn library() -> Option<String> {
    let places = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut files = places.map(|place| place.path().join("faketime/libfaketime.so.1"));
    let found = files.find(|file| file.exists())?;
    Some(found.to_string_lossy().into_owned())
}

async fn clocks(bench: &Bench) -> Result<Cell> {
    if bench.backend.kind() == Kind::Kafka {
        let why = "libfaketime does not reach librdkafka's waits (cnd_timedwait): it would wait for hours";
        return Ok(Cell::left_out(why));
    }
    let Some(library) = library() else {
        let why = "libfaketime is not there: apt-get install libfaketime";
        return Ok(Cell::left_out(why));
    };
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    // Not by the program faketime, which stays between: a kill must reach the hub.
    let shifted = |by: &str| {
        let (preload, by) = (format!("LD_PRELOAD={library}"), format!("FAKETIME={by}"));
        vec!["env".to_owned(), preload, by]
    };
    settings.wrappers = vec![shifted("+2h"), shifted("-2h")];
    let mut workload = Workload::start(bench, &settings).await?;
    for hub in &workload.hubs[..2] {
        let mapped = fs::read_to_string(format!("/proc/{}/maps", hub.pid()?))?;
        let shifted = mapped.contains("libfaketime");
        cell.gate(shifted, format!("{}: its clock is right", hub.node()));
    }
    sleep(Duration::from_secs(10)).await;
    // Its clients go to hubs of other times, and it reads back what was published by other clocks.
    workload.hubs[0].kill().await?;
    workload.fault("hub", Phase::Begin)?;
    sleep(Duration::from_secs(2)).await;
    workload.fault("hub", Phase::Mend)?;
    workload.hubs[0].again().await?;
    workload.hubs[0]
        .until_ready(true, Duration::from_secs(15))
        .await?;
    workload.fault("hub", Phase::End)?;
    sleep(Duration::from_secs(10)).await;
    cell.figure("rate", workload.rate());
    cell.note("tokens that expire: subscribers are not authenticated yet");
    let verdict = workload.finish().await?;
    let kind = bench.backend.kind();
    if kind.is_log() {
        let (back, of) = (verdict.recovered, verdict.resumes);
        cell.gate(back == of, format!("{back} of {of} resumes recovered"));
    }
    let demands = Demands {
        lossless: true,
        native_may_be_lost: false,
        faults: 1,
    };
    judge(&mut cell, kind, verdict, demands);
    Ok(cell)
}
