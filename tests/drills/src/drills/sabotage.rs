//! Hubs that were built wrong on purpose, by `--features sabotage`: the checker must flag each.

use std::{fs, path::Path, time::Duration};

use tokio::time::sleep;

use super::{Demands, d01, d06, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Verdict,
    drill::Bench,
    report,
    workload::{Settings, Workload},
};

/// What is broken while it runs, so that the sabotage can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    Kill,
    Rollback,
}

/// Its name for the hub, the fault, and what the checker must count.
const ALL: [(&str, With, &str); 7] = [
    ("drop", With::Nothing, "lost in silence"),
    ("repeat", With::Nothing, "repeated"),
    ("swap", With::Nothing, "reordered"),
    ("swallow_gap", With::Rollback, "lost in silence"),
    ("reuse_epoch", With::Rollback, "lost in silence"),
    ("early_ack", With::Kill, "dishonest or lost"),
    ("restart_numbers", With::Nothing, "false gaps, or lost"),
];

/// All of them, or those that are named.
pub(crate) async fn all(bench: &mut Bench, logs: &Path, named: &[String]) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    // Without sabotage nothing is flagged, or a flag would mean nothing.
    for (name, with, wanted) in [("none", With::Nothing, ""), ("none", With::Rollback, "")]
        .into_iter()
        .chain(ALL)
    {
        if !named.is_empty() && !named.iter().any(|one| one == name) {
            continue;
        }
        bench.environment = vec![("HUBPLANE_SABOTAGE".to_owned(), name.to_owned())];
        // A directory for each, as the checker reads all logs of one.
        bench.directory = logs.join(format!("{}-sabotage-{name}", bench.backend.name()));
        fs::create_dir_all(&bench.directory)?;
        let mut cell = Cell {
            drill: format!("sabotage {name}"),
            backend: bench.backend.name().to_owned(),
            ..Cell::default()
        };
        // Some sabotages only show while something is broken.
        let broken = with != With::Nothing && !bench.backend.can_break();
        if broken {
            cell.left_out = Some("no script controls this broker".to_owned());
        } else if name == "reuse_epoch" && !counts_places(bench.backend.kind()) {
            cell.left_out = Some(
                "no positions here, or positions that are times: no place comes again".to_owned(),
            );
        } else {
            let start = std::time::Instant::now();
            // The hubs read their sabotage from the environment.
            match one(bench, with).await {
                Ok(found) => flag(&mut cell, name, wanted, found),
                Err(error) => cell
                    .failures
                    .push(format!("the drill itself failed: {error}")),
            }
            cell.seconds = start.elapsed().as_secs_f64();
        }
        report::row(&cell);
        cells.push(cell);
    }
    bench.environment.clear();
    Ok(cells)
}

/// Whether a place of a log that was rolled back can be another message's later.
fn counts_places(kind: Kind) -> bool {
    kind.is_log() && kind != Kind::RedisStreams
}

async fn one(bench: &Bench, with: With) -> Result<(Verdict, Vec<String>)> {
    let mut settings = Settings::of(bench);
    // Fewer clients than usual: the checker must see it without a crowd.
    settings.clients = 100;
    if with == With::Rollback {
        // Who is away when the others are told comes back with a position of before.
        settings.restless = 50;
    }
    let mut workload = Workload::start(bench, &settings).await?;
    let mut cell = Cell::default();
    sleep(Duration::from_secs(5)).await;
    match with {
        // One in 500 is spoilt: each hub must have published several times as many, also where it publishes slower than asked.
        With::Nothing => {
            let seconds = 9000 / u64::from(workload.rate().max(1));
            sleep(Duration::from_secs(seconds.clamp(5, 60))).await;
        }
        // Early acknowledgements are lost only if the broker dies right after them; two kills make
        // that likely.
        With::Kill => {
            for _ in 0..2 {
                d01::kill_for(bench, &mut workload, Duration::from_secs(7)).await?;
                sleep(Duration::from_secs(6)).await;
            }
        }
        With::Rollback => {
            d06::forget(bench, &mut workload, &mut cell).await?;
            sleep(Duration::from_secs(10)).await;
        }
    }
    let verdict = workload.finish().await?;
    let demands = Demands {
        lossless: with != With::Rollback,
        native_may_be_lost: true,
        faults: 0,
    };
    judge(&mut cell, bench.backend.kind(), verdict.clone(), demands);
    Ok((verdict, cell.failures))
}

/// Whether the checker counted what this sabotage causes. Other flags may be there as well.
fn flag(cell: &mut Cell, name: &str, wanted: &str, (verdict, flagged): (Verdict, Vec<String>)) {
    let v = &verdict;
    let seen = match name {
        "none" => flagged.is_empty(),
        "drop" => v.lost_silent > 0,
        // What a regrown log holds was written there by others.
        "swallow_gap" | "reuse_epoch" => v.lost_silent + v.lost_silent_native > 0,
        "repeat" => v.repeated > 0,
        "swap" => v.reordered > 0,
        "early_ack" => {
            v.dishonest > 0
                || v.lost_silent > 0
                || flagged
                    .iter()
                    .any(|words| words.contains("announced as lost"))
        }
        // With no fault at all, every announcement is false.
        _ => v.gaps > 0 || v.lost_silent > 0,
    };
    cell.figure("flags", flagged.clone());
    cell.figure("gaps", v.gaps);
    cell.figure("lost_silent_native", v.lost_silent_native);
    if name == "none" {
        cell.gate(seen, format!("flagged without sabotage: {flagged:?}"));
        cell.notes.extend(v.examples.iter().cloned());
    } else {
        cell.gate(seen, format!("not flagged: {wanted} was to be counted"));
    }
    cell.verdict = Some(verdict);
}
