//! `hubplane bench`: turns options into a plan, and shows what comes of it.
//!
//! What is measured and how is in `hubplane-bench`; this folder knows only options, files and the screen.

mod report;
mod screen;

use std::{env, fs, path::PathBuf, time::Duration};

use hubplane_backplane::{Address, parse_duration};

use super::{Failure, backends::promises, environment::shown, print};
use crate::backends;
use hubplane_bench::{
    merge::Merged,
    plan::{Backend, Build, Drivers, Plan, QUICK, USUAL},
    report as page, run,
    scenario::Scenario,
    table, target,
};
use screen::Screen;

/// How often the fixed rate is measured by default, and what `--quick` measures instead.
const ROUNDS: usize = 3;
const QUICK_ROUNDS: usize = 2;
const QUICK_SCENARIOS: [&str; 2] = ["progress", "fanout"];
/// The most hub processes: more would measure the machine and not the hub.
const MOST_HUBS: usize = 64;

/// Compare brokers: measure latency, throughput, CPU, memory and recovery of a hub on each.
///
/// Starts hubs on each broker and loads them with real WebSocket clients. The run publishes its messages on the broker. Give each address a topic, prefix or exchange that nothing else uses.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  hubplane bench --quick --backplane memory: --backplane redis://127.0.0.1:6379
  hubplane bench --backplane redis://10.0.0.5 --backplane 'kafka://10.0.0.6:9092?topic=bench' --json run.json
  hubplane bench --build old=./hubplane-before --build new=target/release/hubplane --scenario fanout
  hubplane bench --hub http://10.0.0.7:8080,http://10.0.0.8:8080 --scenario my.toml"
)]
pub(super) struct Bench {
    #[command(subcommand)]
    command: Option<Command>,
    /// Address of a broker to measure; can be given several times [default: memory:]
    #[arg(long = "backplane", value_name = "ADDRESS")]
    backplanes: Vec<String>,
    /// Measure hubs that run already, all on one broker: http://HOST:PORT[,http://HOST:PORT…]; their CPU and memory are
    /// not measured
    #[arg(long = "hub", value_name = "URLS")]
    hubs: Vec<String>,
    /// File with the key of the hubs that run already
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Measure another build of hubplane under this name, such as old=./hubplane-before; can be given several times
    /// [default: this program]
    #[arg(long = "build", value_name = "NAME=PROGRAM", value_parser = build)]
    builds: Vec<Build>,
    /// Scenario to measure: progress, fanout, chat, churn, large, or a .toml file; can be given several times
    /// [default: all five]
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Print the file of a built-in scenario, as a start for your own, and exit
    #[arg(long, value_name = "NAME", exclusive = true)]
    print_scenario: Option<String>,
    /// Measure less: two scenarios in two rounds, about three minutes for two brokers
    #[arg(long)]
    quick: bool,
    /// Time for the whole run; the more there is to measure, the shorter each measurement [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// Number of hub processes on each broker
    #[arg(long = "processes", value_name = "N", default_value_t = 2)]
    processes: usize,
    /// Number of times that each broker is measured at the fixed rate [default: 3]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Skip the search for the highest rate
    #[arg(long)]
    no_ladder: bool,
    /// CPU cores for the hubs and for the load generator, such as 0:1 or 0-3:4-7 (uses taskset; the brokers are not
    /// pinned)
    #[arg(long, value_name = "HUBS:LOAD", value_parser = pin)]
    pin: Option<(String, String)>,
    /// Also kill a hub with SIGKILL, and measure how long its clients take to recover
    #[arg(long)]
    kill_hub: bool,
    /// Also run this command, which kills and restarts a broker, and measure how long clients take to recover:
    /// redis='systemctl restart redis'
    #[arg(long = "kill-broker", value_name = "SCHEME=COMMAND", value_parser = restart)]
    kill_brokers: Vec<(String, String)>,
    /// Write all figures to this file as JSON, for `hubplane bench report`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a web page with charts to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Combine the results of several runs into a table and a web page
    Report(report::Report),
}

/// Reads a time for the whole run. Zero is refused, as it would make every measurement the shortest
/// possible.
fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be longer than zero, such as 90s or 15m".to_owned()),
        time => Ok(time),
    }
}

/// Reads the cores of hubs and load. `taskset` itself checks whether there are such cores.
fn pin(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':');
    let parts = parts.filter(|(hubs, load)| !hubs.is_empty() && !load.is_empty());
    let (hubs, load) = parts
        .ok_or("write the hubs' cores, a colon, and the load's cores, such as 0:1".to_owned())?;
    Ok((hubs.to_owned(), load.to_owned()))
}

/// Reads a name and a program. The program must exist, so that a mistake shows before the first
/// measurement.
fn build(text: &str) -> Result<Build, String> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(name, program)| !name.is_empty() && !program.is_empty());
    let (name, program) = parts.ok_or("write NAME=PROGRAM, such as old=./hubplane-before")?;
    // An absolute path, so that it is found wherever a hub is started from.
    let program = fs::canonicalize(program).map_err(|error| format!("{program}: {error}"))?;
    Ok(Build {
        name: name.to_owned(),
        program,
    })
}

/// Reads a scheme and a command. The scheme may be written with its colon, as in an address.
fn restart(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(scheme, command)| !scheme.is_empty() && !command.is_empty());
    let (scheme, command) = parts.ok_or("write SCHEME=COMMAND, such as redis='…'".to_owned())?;
    Ok((scheme.trim_end_matches(':').to_owned(), command.to_owned()))
}

impl Bench {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if let Some(Command::Report(report)) = &self.command {
            return report.run();
        }
        if let Some(name) = &self.print_scenario {
            let text = Scenario::text(name).map_err(Failure::wrong)?;
            return print(text.trim_end());
        }
        let plan = self.plan()?;
        // Nothing is measured before the whole plan is known to be sound.
        let mut screen = Screen::new();
        let run = run::run(&plan, self.command(), &mut |progress| screen.show(progress));
        // Clear also after a failure, whose message would otherwise stand behind the bar.
        screen.clear();
        let run = run.map_err(Failure::failed)?;
        // Files before the table: if standard output is closed, the figures are not lost.
        if let Some(path) = &self.json {
            let text = serde_json::to_string(&run).map_err(Failure::failed)?;
            report::write(path, &text)?;
        }
        let merged = Merged::from(run);
        if let Some(path) = &self.report {
            let page = page::html(&merged).map_err(Failure::failed)?;
            report::write(path, &page)?;
        }
        print(table::text(&merged))?;
        // What failed was shown as it happened; here it decides the exit code.
        let failures: Vec<_> = merged
            .backends
            .iter()
            .filter_map(|it| Some(format!("{}: {}", it.name, it.failure.as_ref()?)))
            .collect();
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(failures.join("\n"))),
        }
    }

    /// Returns what the options ask for. The failure says which of them is wrong.
    fn plan(&self) -> Result<Plan, Failure> {
        if !(1..=MOST_HUBS).contains(&self.processes) {
            let message = format!("--processes must be from 1 to {MOST_HUBS}");
            return Err(Failure::wrong(message));
        }
        let quick: Vec<_> = QUICK_SCENARIOS.map(str::to_owned).into();
        // `--scenario` wins over `--quick`, which then only has fewer rounds.
        let names = match (self.scenarios.is_empty(), self.quick) {
            (true, true) => &quick,
            _ => &self.scenarios,
        };
        let scenarios = match names.is_empty() {
            true => Scenario::built_in(),
            false => names
                .iter()
                .map(|name| Scenario::find(name))
                .collect::<Result<_, _>>()
                .map_err(Failure::wrong)?,
        };
        let (rounds, time) = match self.quick {
            true => (QUICK_ROUNDS, QUICK),
            false => (ROUNDS, USUAL),
        };
        Ok(Plan {
            drivers: Drivers(backends::find),
            backends: self.backends()?,
            scenarios,
            hubs: self.processes,
            // No rounds at all would leave nothing to show.
            rounds: self.rounds.unwrap_or(rounds).max(1),
            ladder: !self.no_ladder,
            pin: self.pin.clone(),
            kill_hub: self.kill_hub,
            time: self.time.unwrap_or(time),
        })
    }

    /// Returns the backends to measure: each address with each build, then the hubs that run already. Checks all addresses now,
    /// and not after a quarter of an hour of measuring.
    fn backends(&self) -> Result<Vec<Backend>, Failure> {
        // Without any option, the embedded backend is measured: it needs no broker.
        let embedded = vec!["memory:".to_owned()];
        let addresses = match self.backplanes.is_empty() && self.hubs.is_empty() {
            true => &embedded,
            false => &self.backplanes,
        };
        let mut found = Vec::new();
        for text in addresses {
            let address: Address = text.parse()?;
            // A scheme that is not in this build is refused, although `--build` may name a program
            // that has it: the broker alone is measured by this program.
            backends::find(address.scheme())?;
            let mut commands = self.kill_brokers.iter();
            let restart = commands.find(|(scheme, _)| scheme == address.scheme());
            let with = |build: Option<&Build>| Backend {
                address: Some(text.clone()),
                hubs: Vec::new(),
                key: None,
                promises: promises(address.scheme()),
                restart: restart.map(|(_, command)| command.clone()),
                build: build.cloned(),
            };
            match self.builds.is_empty() {
                true => found.push(with(None)),
                // Every build on every address, next to each other in the table.
                false => found.extend(self.builds.iter().map(|build| with(Some(build)))),
            }
        }
        let schemes: Vec<_> = found
            .iter()
            .filter_map(|it| it.address.as_ref()?.split(':').next())
            .collect();
        // A command for a backend that is not measured is a mistyped scheme.
        if let Some((scheme, _)) = self
            .kill_brokers
            .iter()
            .find(|(it, _)| !schemes.contains(&&**it))
        {
            let message = format!("--kill-broker {scheme}=…: no --backplane has this scheme");
            return Err(Failure::wrong(message));
        }
        // Read even if no hub is given, so that a wrong file is always told.
        let key = match &self.key_file {
            Some(path) => Some(super::secret_of("--key-file", path)?),
            None => None,
        };
        for urls in &self.hubs {
            // An address with a password in it must not be quoted in an error.
            let mut each = urls.split(',');
            each.try_for_each(|url| match shown(url) == url {
                true => target::check(url).map_err(Failure::wrong),
                false => Err(Failure::wrong("--hub: a hub's address is http://HOST:PORT")),
            })?;
            found.push(Backend {
                address: None,
                hubs: urls.split(',').map(str::to_owned).collect(),
                key: key.clone(),
                promises: Vec::new(),
                restart: None,
                build: None,
            });
        }
        Ok(found)
    }

    /// Returns the command line as a report shows it: what an address keeps secret is left out.
    fn command(&self) -> String {
        let shown = |word: String| match word.parse::<Address>() {
            Ok(address) if self.backplanes.contains(&word) => address.to_string(),
            _ => word,
        };
        let words = env::args().skip(1).map(shown);
        format!("hubplane {}", words.collect::<Vec<_>>().join(" "))
    }
}
