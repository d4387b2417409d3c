//! The same load on several servers, each by its own protocol, in turns: `bench/peers/run` starts the servers and this.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

mod across;
mod closed;
mod crowd;
mod heard;
mod http;
mod measure;
mod protocol;
mod relay;
mod sockets;
mod table;
mod target;
mod websocket;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser as _;
use hubplane::bench::scenario::Scenario;
use tokio::{runtime, task::LocalSet, time::sleep};

use crate::{
    measure::{Measured, Plan, measure},
    table::Figure,
    target::Target,
};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Between two measurements: closed sockets are cleared away.
const PAUSE: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(1);
/// One step of a ladder.
const STEP: Duration = Duration::from_secs(3);

/// The same load on several servers.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Scenarios of `hubplane bench` or files, in this order
    #[arg(long, value_delimiter = ',', default_value = "progress,fanout,chat")]
    scenario: Vec<String>,
    /// Measure this instead of scenarios
    #[arg(long, value_delimiter = ',')]
    special: Vec<Special>,
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
    /// Files that `bench/peers/up` has written
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

/// What is no scenario.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Special {
    /// From a socket of one instance to a socket of the other at 500 messages a second, and through Redis alone
    Across,
    /// Sockets with a subscription a second: 3,000, 128 at a time
    Connects,
    /// Memory of 10,000 waiting sockets
    Idle,
    /// 1,000 subscribers of one channel, 16 messages in flight, as fast as it goes
    Closed,
}

impl Special {
    async fn measure(self, target: &Target, length: Duration) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Across => across::across(target, length).await,
            Self::Connects => crowd::connects(target).await,
            Self::Idle => crowd::idle(target).await,
            Self::Closed => closed::closed(target, length).await,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, kind, redis] = &arguments[..]
        && word == relay::WORD
    {
        // However it ends, who started it sees it by what comes.
        _ = relay::run(kind, redis);
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
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
    if !options.special.is_empty() {
        return special(options, &targets).await;
    }
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
                match measure(target, plan).await {
                    Ok(one) => measured.push(one),
                    Err(error) => eprintln!("{}: {error}", target.name),
                }
                sleep(PAUSE).await;
            }
        }
        let rows = targets.iter().map(|it| &*it.name).zip(&measured);
        println!("\n{}", table::rounds(&scenario, rate, rows));
        if options.ladder {
            println!("{}", table::LADDER);
            for target in &targets {
                let (held, failed) = climb(target, &scenario).await?;
                println!(
                    "{}",
                    table::knee(&target.name, held.as_ref(), failed.as_ref())
                );
            }
        }
    }
    Ok(())
}

async fn special(options: &Options, targets: &[Target]) -> Result<(), Failure> {
    let length = Duration::from_secs(options.seconds);
    for what in &options.special {
        let mut measured = vec![Vec::new(); targets.len()];
        for round in 1..=options.rounds {
            for (target, measured) in targets.iter().zip(&mut measured) {
                eprintln!(
                    "{what:?}, round {round} of {}: {}",
                    options.rounds, target.name
                );
                match what.measure(target, length).await {
                    Ok(one) => measured.push(one),
                    Err(error) => eprintln!("{}: {error}", target.name),
                }
                sleep(PAUSE).await;
            }
        }
        let rows = targets.iter().map(|it| &*it.name).zip(&measured);
        println!("\n{}", table::figures(&format!("{what:?}"), rows));
    }
    Ok(())
}

type Step = (f64, Measured);

/// Doubles the rate until a step fails, then halves the last stretch twice: the last step that held, and the lowest that
/// did not.
async fn climb(
    target: &Target,
    scenario: &Scenario,
) -> Result<(Option<Step>, Option<Step>), Failure> {
    let (mut held, mut failed): (Option<Step>, Option<Step>) = (None, None);
    let (mut rate, mut halvings) = (scenario.ladder.from, 2);
    while rate <= scenario.ladder.to {
        eprintln!("{}, {}: {rate:.0} messages/s", scenario.name, target.name);
        let plan = Plan {
            scenario,
            rate,
            warm_up: WARM_UP,
            length: STEP,
        };
        let one = measure(target, plan).await?;
        sleep(PAUSE).await;
        let sound = one.lost + one.refused + one.closed == 0;
        let quick = u128::from(one.p99) <= scenario.limit().as_micros();
        match sound && quick {
            true => held = Some((rate, one)),
            false => failed = Some((rate, one)),
        }
        rate = match (&held, &failed) {
            (Some((held, _)), Some((failed, _))) if halvings > 0 => {
                halvings -= 1;
                (held + failed) / 2.0
            }
            (Some((held, _)), None) => held * 2.0,
            _ => break,
        };
    }
    Ok((held, failed))
}
