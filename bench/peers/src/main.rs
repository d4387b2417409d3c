//! The same load on several servers, each by its own protocol, in turns: `bench/peers/run` starts the servers and this.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

mod across;
mod closed;
mod connects;
mod crowd;
mod heard;
mod http;
mod idle;
mod kept;
mod measure;
mod protocol;
mod pubsub;
mod ramp;
mod rates;
mod relay;
mod sockets;
mod special;
mod table;
mod target;
mod websocket;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser as _;
use hubplane_bench::scenario::Scenario;
use tokio::{runtime, task::LocalSet, time::sleep};

use crate::{
    measure::{Plan, measure},
    ramp::climb,
    special::Special,
    target::Target,
};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Between two measurements: closed sockets are cleared away.
const PAUSE: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(1);

/// The same load on several servers.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Scenarios of `hubplane bench` or files, in this order
    #[arg(long, value_delimiter = ',', default_value = "progress,fanout,chat")]
    scenario: Vec<String>,
    /// Measure this instead of scenarios; in one table
    #[arg(long, value_delimiter = ',')]
    special: Vec<Special>,
    /// Measure all of these
    #[arg(long, conflicts_with = "special")]
    all: bool,
    /// Add the rounds of `--special` or `--all` to those in this file, and count both
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Messages a second [default: as the scenario says]
    #[arg(long)]
    rate: Option<f64>,
    /// How often each server is measured, in turn with the others
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a measurement takes
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Then double the rate until a server loses something or p99 is over the scenario's limit
    #[arg(long)]
    ladder: bool,
    /// Files that `bench/peers/servers up` has written
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Started by this program itself as a process of its own; it has no options.
    if let [word, kind, redis] = &arguments[..]
        && word == relay::WORD
    {
        // However it ends, who started it sees it by what comes.
        _ = relay::run(kind, redis);
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    // One thread for the whole load: everything it costs is seen as a share of one core.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("invariant: a runtime can be made");
    match LocalSet::new().block_on(&runtime, run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let targets = options.targets.iter().map(|path| Target::read(path));
    let targets: Vec<_> = targets.collect::<Result<_, _>>()?;
    if options.all || !options.special.is_empty() {
        let paths = options.targets.iter().cloned();
        return special::measure(options, paths.zip(targets).collect()).await;
    }
    // Scenarios one after the other; within one, the servers take turns round by round, so that a
    // slow minute hits all alike.
    for name in &options.scenario {
        let scenario = Scenario::find(name)?;
        let rate = options.rate.unwrap_or(scenario.rate);
        let mut measured = vec![Vec::new(); targets.len()];
        for round in 1..=options.rounds {
            for (target, measured) in targets.iter().zip(&mut measured) {
                eprintln!(
                    "{name}, round {round} of {}: {}",
                    options.rounds, target.name
                );
                let plan = Plan {
                    scenario: &scenario,
                    rate,
                    warm_up: WARM_UP,
                    length: Duration::from_secs(options.seconds),
                };
                // One that fails leaves the others' rounds as they are, and shows as fewer rounds.
                match measure(target, plan).await {
                    Ok(one) => measured.push(one),
                    Err(error) => eprintln!("{}: {error}", target.name),
                }
                sleep(PAUSE).await;
            }
        }
        let rows = targets.iter().map(|it| &*it.name).zip(&measured);
        println!("\n{}", table::rounds(&scenario, rate, rows));
        // After all rounds, as it leaves servers busy.
        if options.ladder {
            println!("{}", table::LADDER);
            for target in &targets {
                let (held, failed) = climb(target, &scenario, scenario.ladder.from).await?;
                println!(
                    "{}",
                    table::knee(&target.name, held.as_ref(), failed.as_ref())
                );
            }
        }
    }
    Ok(())
}
