//! Runs a plan: each scenario on each backend, round by round in turn (A B C A B C), then the ladders, then the faults.
//!
//! Rounds take turns so that other work on the machine slows all backends alike. This file decides the order and keeps
//! the results; how load is made and what is counted is in `load` and `site`.

use std::{
    env, io,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hubplane_backplane::{Address, OnRestart};
use tokio::{runtime::Builder, time::timeout};

use super::{
    direct, fault,
    ladder::climb,
    load::Load,
    plan::{Backend, Drivers, Lengths, Plan},
    results::{Figures, Latency, Measured, Round, Run, VERSION},
    scenario::Scenario,
    site::Site,
    summary::Unit,
    system,
    target::{HubAddress, Hubs, Target, broker_ports},
};

/// What a run says while it goes on.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Something begins: how much is done of how much, and what it is.
    Begin {
        /// Measurements that are done.
        done: usize,
        /// Measurements of the whole run.
        of: usize,
        /// Backend, scenario and part.
        what: String,
    },
    /// A line to keep.
    Line(String),
}

/// How long a broker may take to answer before the run begins.
const REACH: Duration = Duration::from_secs(15);

/// Opens each address once. A broker that can't be reached thus fails the run at its start, not after minutes in each part.
fn reach(plan: &Plan) -> io::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut seen: Vec<&str> = Vec::new();
    let mut failures = Vec::new();
    for text in plan.backends.iter().filter_map(|it| it.address.as_deref()) {
        if seen.contains(&text) {
            continue;
        }
        seen.push(text);
        let address: Address = text.parse().map_err(io::Error::other)?;
        // This program may lack the driver although the measured build has it.
        let Ok(driver) = plan.drivers.find(address.scheme()) else {
            continue;
        };
        let opened = runtime.block_on(async {
            let opened = timeout(REACH, driver.open(&address)).await;
            let opened =
                opened.map_err(|_late| format!("no answer within {} s", REACH.as_secs()))?;
            let opened = opened.map_err(|error| error.to_string())?;
            opened.backplane.close().await;
            Ok::<(), String>(())
        });
        if let Err(why) = opened {
            failures.push(format!("{address} can't be reached: {why}"));
        }
    }
    // A driver's own tasks must not hold the program up.
    runtime.shutdown_background();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other(failures.join("\n"))),
    }
}

/// A run on its way.
struct Runner<'a> {
    plan: &'a Plan,
    lengths: Lengths,
    id: String,
    done: usize,
    say: &'a mut dyn FnMut(Progress),
}

/// Runs a plan to its end. What fails on one backend is noted there and does not stop the others.
///
/// # Errors
/// What concerns the whole run: no memory, no threads, cores that are not there, a broker that can't be reached.
pub fn run(plan: &Plan, command: String, say: &mut dyn FnMut(Progress)) -> io::Result<Run> {
    if let Some((_, load)) = &plan.pin {
        system::pin(std::process::id(), load)?;
    }
    reach(plan)?;
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut runner = Runner {
        plan,
        lengths: plan.lengths(),
        id: format!("{:x}", started.as_millis() & 0xff_ffff_ffff),
        done: 0,
        say,
    };
    let mut measured: Vec<Measured> = Vec::new();
    for backend in &plan.backends {
        let name = name(backend, &measured);
        measured.push(introduce(backend, name)?);
    }
    let about = plan.estimate();
    if about > plan.time.mul_f64(1.1) {
        let line = format!(
            "this takes about {} min, more than --time: fewer backends, scenarios or rounds take less",
            about.as_secs().div_ceil(60)
        );
        (runner.say)(Progress::Line(line));
    }
    // The fixed rates first: what a ladder leaves in a broker's log is read by every hub that starts later.
    for scenario in &plan.scenarios {
        runner.rounds(scenario, &mut measured);
    }
    for scenario in &plan.scenarios {
        runner.ladders(scenario, &mut measured);
    }
    if let Some(scenario) = plan.scenarios.first() {
        for (backend, into) in plan.backends.iter().zip(&mut measured) {
            runner.faults(backend, scenario, into);
        }
    }
    Ok(Run {
        version: VERSION,
        started: started.as_secs(),
        command,
        hubplane: env!("CARGO_PKG_VERSION").to_owned(),
        machine: system::machine(),
        hubs: plan.hubs,
        scenarios: plan.scenarios.clone(),
        backends: measured,
    })
}

/// Returns a backend's name in the figures: its scheme and build, with a number if an earlier backend has the same name.
fn name(backend: &Backend, before: &[Measured]) -> String {
    let mut scheme = match &backend.address {
        Some(address) => address.split(':').next().unwrap_or_default().to_owned(),
        None => backend.hubs.first().cloned().unwrap_or_default(),
    };
    if let Some(build) = &backend.build {
        scheme = format!("{scheme} {}", build.name);
    }
    let same = before
        .iter()
        .filter(|it| it.name == scheme || it.name.starts_with(&format!("{scheme} ")));
    match same.count() {
        0 => scheme,
        n => format!("{scheme} {}", n + 1),
    }
}

/// Begins a backend's results: its address without secrets, and the fingerprint of the program that serves it, so that a
/// reader can tell which build was measured.
fn introduce(backend: &Backend, name: String) -> io::Result<Measured> {
    let address = match &backend.address {
        Some(text) => {
            let address: Address = text.parse().map_err(io::Error::other)?;
            address.to_string()
        }
        None => backend.hubs.join(","),
    };
    let program = match backend.address {
        Some(_) => Some(system::fingerprint(&program(backend)?)?),
        None => None,
    };
    Ok(Measured {
        name,
        address,
        program,
        promises: backend.promises.clone(),
        scenarios: Default::default(),
        failure: None,
    })
}

/// Returns true if a broker stands between the hubs. Without one, each process has its own log, and several hubs can't
/// share messages.
fn has_broker(drivers: Drivers, backend: &Backend) -> bool {
    let address = backend.address.as_ref();
    let scheme = address.and_then(|text| text.split(':').next());
    let driver = scheme.and_then(|scheme| drivers.find(scheme).ok());
    let on_restart = driver.map(|driver| driver.capabilities().on_restart);
    !matches!(on_restart, Some(OnRestart::NoBroker))
}

/// Returns the program that is started as a hub: the named build, or else this program.
fn program(backend: &Backend) -> io::Result<PathBuf> {
    match &backend.build {
        Some(build) => Ok(build.program.clone()),
        None => env::current_exe(),
    }
}

impl Runner<'_> {
    /// Measures all rounds of a scenario at its fixed rate.
    fn rounds(&mut self, scenario: &Scenario, measured: &mut [Measured]) {
        let plan = self.plan;
        for round in 1..=plan.rounds {
            for (backend, into) in plan.backends.iter().zip(&mut *measured) {
                let part = format!("round {round} of {}", plan.rounds);
                self.part(scenario, into, &part, |runner, figures| {
                    let result = runner.round(backend, scenario)?;
                    let mut said = line(&result);
                    figures.rounds.push(result);
                    // The broker alone is measured after each round and not once, so that both meet the same state of the machine.
                    let alone = runner.alone(backend, scenario)?;
                    if let Some(it) = &alone {
                        said += &format!("  alone p50 {}  p99 {}", time(it.p50), time(it.p99));
                    }
                    if let Some(round) = figures.rounds.last_mut() {
                        round.alone = alone;
                    }
                    Ok(said)
                });
            }
        }
    }

    /// Searches the highest rate of each backend.
    fn ladders(&mut self, scenario: &Scenario, measured: &mut [Measured]) {
        let plan = self.plan;
        for (backend, into) in plan.backends.iter().zip(measured) {
            if plan.ladder {
                self.part(scenario, into, "ladder", |runner, figures| {
                    let mut site = runner.site(backend)?;
                    climb(&mut site, scenario, (&runner.id, runner.lengths), figures)
                });
            }
        }
    }

    /// Kills a hub or the broker if the plan says so. A hub is killed only if another one is left for its clients.
    fn faults(&mut self, backend: &Backend, scenario: &Scenario, into: &mut Measured) {
        let shared = backend.address.is_some() && self.many(backend) > 1;
        if self.plan.kill_hub && shared {
            self.part(scenario, into, "a hub is killed", |runner, figures| {
                let mut site = runner.site(backend)?;
                fault::hub(&runner.id, &mut site, scenario).map(|fault| keep(fault, figures))
            });
        }
        if let Some(command) = &backend.restart {
            self.part(
                scenario,
                into,
                "the broker is restarted",
                |runner, figures| {
                    let site = runner.site(backend)?;
                    fault::broker(&runner.id, &site, scenario, command)
                        .map(|fault| keep(fault, figures))
                },
            );
        }
    }

    /// Does one part of the work and reports it. A failure is noted at the backend and does not stop the run.
    fn part(
        &mut self,
        scenario: &Scenario,
        into: &mut Measured,
        part: &str,
        work: impl FnOnce(&mut Self, &mut Figures) -> io::Result<String>,
    ) {
        let what = format!("{} · {} · {part}", into.name, scenario.name);
        let (done, of) = (self.done, self.plan.measurements());
        (self.say)(Progress::Begin {
            done,
            of: of.max(done + 1),
            what: what.clone(),
        });
        self.done += 1;
        let mut figures = into.scenarios.remove(&scenario.name).unwrap_or_default();
        let said = match work(self, &mut figures) {
            Ok(line) => line,
            Err(error) => {
                into.failure = Some(format!("{} · {part}: {error}", scenario.name));
                format!("failed: {error}")
            }
        };
        into.scenarios.insert(scenario.name.clone(), figures);
        (self.say)(Progress::Line(format!("{what}: {said}")));
    }

    /// Returns the number of hubs to start: one if the backend has no broker.
    fn many(&self, backend: &Backend) -> usize {
        match has_broker(self.plan.drivers, backend) {
            false => 1,
            true => self.plan.hubs,
        }
    }

    /// Starts new hubs for one part, or uses those that the user runs already.
    fn site(&self, backend: &Backend) -> io::Result<Site> {
        let Some(text) = &backend.address else {
            let key = backend.key.as_deref();
            let hubs = backend.hubs.iter().map(|url| HubAddress::parse(url, key));
            let hubs = hubs.collect::<Result<_, _>>().map_err(io::Error::other)?;
            return Ok(Site {
                hubs: None,
                target: Target { hubs },
                broker: None,
                ports: Vec::new(),
            });
        };
        let cores = self.plan.pin.as_ref().map(|(hubs, _)| hubs.as_str());
        let program = program(backend)?;
        let hubs = Hubs::start(&program, text, self.many(backend), cores)?;
        let address: Address = text.parse().map_err(io::Error::other)?;
        let places = broker_ports(&address);
        let broker = places
            .iter()
            .find_map(|(host, port)| system::listener(host, *port));
        Ok(Site {
            target: hubs.target.clone(),
            hubs: Some(hubs),
            broker,
            ports: places.into_iter().map(|(_, port)| port).collect(),
        })
    }

    /// Measures the broker without hubs. Returns nothing if there is no broker or if the hubs run already and
    /// its address is not known.
    fn alone(&self, backend: &Backend, scenario: &Scenario) -> io::Result<Option<Latency>> {
        let drivers = self.plan.drivers;
        let address = backend.address.as_ref();
        let Some(address) = address.filter(|_| has_broker(drivers, backend)) else {
            return Ok(None);
        };
        let lengths = (self.lengths.warm_up, self.lengths.alone);
        let run = format!("{}.{}", self.id, self.done);
        let latency = direct::measure((drivers, address), scenario, &run, lengths)
            .map_err(|error| io::Error::other(format!("the broker alone: {error}")))?;
        Ok(Some(latency).filter(|it| it.count > 0))
    }

    /// Measures one round with new hubs and new clients.
    fn round(&mut self, backend: &Backend, scenario: &Scenario) -> io::Result<Round> {
        let site = self.site(backend)?;
        let mut load = Load::connect(scenario, &site.target, &self.id)?;
        let lengths = (self.lengths.warm_up, self.lengths.round);
        site.measure(&mut load, scenario.rate, lengths)
    }
}

fn keep(fault: super::results::Fault, figures: &mut Figures) -> String {
    let line = match fault.recovered {
        Some(after) => format!(
            "all subscribers had messages again after {after} ms; {} lost, {} of them announced, {} refused",
            fault.lost, fault.announced, fault.refused
        ),
        None => "not all subscribers had messages again".to_owned(),
    };
    figures.faults.push(fault);
    line
}

/// Writes a round in one line; losses and the like appear only if there were any.
fn line(round: &Round) -> String {
    let cost = |name, value: Option<f64>| {
        value
            .map(|value| format!("  {name} {value:.1} µs"))
            .unwrap_or_default()
    };
    let bad = round.lost + round.repeated + round.reordered + round.refused;
    let bad = match bad {
        0 => String::new(),
        _ => format!(
            "  {} lost, {} repeated, {} reordered, {} refused",
            round.lost, round.repeated, round.reordered, round.refused
        ),
    };
    format!(
        "p50 {}  p99 {}{}{}{bad}",
        time(round.delivery.p50),
        time(round.delivery.p99),
        cost("hubs", round.cost.hub_cpu),
        cost("broker", round.cost.broker_cpu),
    )
}

fn time(micros: u64) -> String {
    Unit::Time.show(micros as f64)
}
