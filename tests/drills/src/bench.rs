//! One run: every drill that was asked for, on every backend that was asked for.

use std::{collections::BTreeMap, fs, time::Instant};

use crate::{
    Result,
    backend::Backend,
    cell::Cell,
    clusters,
    drill::{Bench, Drill},
    drills, load,
    options::Options,
    report,
};

/// Runs what the options ask for; true when every gate held.
pub(crate) async fn run(options: Options) -> Result<bool> {
    // Told at the start and the end, so that a run can be repeated with it.
    let seed = match options.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32()?),
    };
    // With --sabotage, the names are those of sabotages.
    let chosen = if options.sabotage {
        Vec::new()
    } else {
        choose(&options)?
    };
    // Built beside this program; a drill never tests another build by accident.
    let hubplane = match &options.hubplane {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("hubplane"),
    };
    if !hubplane.is_file() {
        return Err(format!(
            "{}: build it: cargo build -p hubplane --features full",
            hubplane.display()
        )
        .into());
    }
    let logs = match &options.logs {
        Some(path) => path.clone(),
        // The process's id keeps two runs apart.
        None => std::env::temp_dir().join(format!("hubplane-drills-{}", std::process::id())),
    };
    fs::create_dir_all(&logs)?;
    println!(
        "seed {seed}, hub {}, logs {}",
        hubplane.display(),
        logs.display()
    );
    let mut cells = Vec::new();
    let mut versions = BTreeMap::new();
    for name in &options.backplane {
        let backend = Backend::open(name, &logs).await?;
        versions.insert(backend.name().to_owned(), backend.version().await);
        let mut bench = Bench {
            backend,
            hubplane: hubplane.clone(),
            seed,
            short: options.short,
            rate: options.rate,
            minutes: options.minutes,
            directory: logs.clone(),
            environment: Vec::new(),
        };
        if options.sabotage {
            cells.extend(drills::sabotage::all(&mut bench, &logs, &options.drill).await?);
        }
        // A drill that can't happen on a backend has no row there, and is no failure.
        for drill in chosen
            .iter()
            .filter(|drill| (drill.fits)(bench.backend.kind()))
        {
            // A directory for each drill, as the checker reads all logs of one.
            bench.directory = logs.join(format!("{}-{}", bench.backend.name(), drill.name));
            fs::create_dir_all(&bench.directory)?;
            cells.push(with_patience(drill, &bench).await);
            report::row(cells.last().expect("invariant: one was pushed"));
        }
        // Ended only now: drills of one backend share its broker.
        bench.backend.end().await?;
    }
    for name in &options.clusters {
        // A cluster opens its own backend, once its nodes run.
        let bench = |backend| Bench {
            backend,
            hubplane: hubplane.clone(),
            seed,
            short: false,
            rate: options.rate,
            minutes: options.minutes,
            directory: logs.clone(),
            environment: Vec::new(),
        };
        cells.extend(clusters::run(*name, &logs, &options.event, bench).await?);
    }
    report::table(&cells, &versions, seed);
    if let Some(path) = &options.json {
        report::json(path, &cells, &versions, seed)?;
    }
    Ok(cells.iter().all(|cell| cell.failures.is_empty()))
}

/// The short round shares two cores with builds and with other brokers: a time that was missed gets a second chance, and is
/// told. What clients lost, or got wrongly, does not.
async fn with_patience(drill: &Drill, bench: &Bench) -> Cell {
    let cell = one(drill, bench).await;
    // Only the short round, only times, and only once.
    if !bench.short || cell.failures.is_empty() || cell.is_wrong() {
        return cell;
    }
    report::row(&cell);
    let mut again = one(drill, bench).await;
    again.note(format!("once more, after {:?}", cell.failures));
    again
}

/// Runs one drill. Its own failure is a red cell, so that the others still run.
async fn one(drill: &Drill, bench: &Bench) -> Cell {
    println!(
        "== {} on {}: {}",
        drill.name,
        bench.backend.name(),
        drill.what
    );
    let start = Instant::now();
    let mut cell = match (drill.run)(bench).await {
        Ok(cell) => cell,
        Err(error) => Cell {
            failures: vec![format!("the drill itself failed: {error}")],
            ..Cell::default()
        },
    };
    drill.name.clone_into(&mut cell.drill);
    bench.backend.name().clone_into(&mut cell.backend);
    cell.seconds = start.elapsed().as_secs_f64();
    cell
}

/// Returns the drills to run, in the order of the options, or else in that of the lists. A name
/// that is not known is an error.
fn choose(options: &Options) -> Result<Vec<&'static Drill>> {
    let every = || drills::DRILLS.iter().chain(load::DRILLS);
    if options.drill.is_empty() {
        return Ok(every()
            .filter(|drill| options.all || (drill.short && options.short))
            .collect());
    }
    let mut chosen = Vec::new();
    for name in &options.drill {
        let Some(drill) = every().find(|drill| drill.name.eq_ignore_ascii_case(name)) else {
            let known: Vec<_> = every().map(|drill| drill.name).collect();
            return Err(format!("no drill {name}; there are {}", known.join(" ")).into());
        };
        chosen.push(drill);
    }
    Ok(chosen)
}
