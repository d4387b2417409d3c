//! What a run does, and how long each part may take.
//!
//! Pure arithmetic: from the number of backends, scenarios and rounds it computes lengths that fit in the time. The constants
//! are rough seconds: a machine that needs more or less only makes the run longer or shorter than its time.

use std::{path::PathBuf, time::Duration};

use hubplane_backplane::{Address, Driver, Opened, Result};

use super::scenario::Scenario;

/// How long a whole run takes at most by default.
pub const USUAL: Duration = Duration::from_secs(15 * 60);
/// How long it takes at most with `--quick`.
pub const QUICK: Duration = Duration::from_secs(170);

/// Starting hubs and clients, and ending them.
const START: f64 = 2.2;
/// The load before counting begins; a step of a ladder needs less, since its clients are warm from the step before.
const WARM_UP: f64 = 1.0;
const STEP_WARM_UP: f64 = 0.3;
/// Waiting for what is still on its way.
const SETTLE: f64 = 0.2;
/// About how many steps a ladder has: up to the first that fails, and those that halve the last stretch.
const STEPS: f64 = 9.0;
/// How much longer the failing steps of one ladder take: they wait for what never comes.
const FAILURES: f64 = 6.0;
/// One fault, from connecting to the last message.
const FAULT: f64 = 23.0;
/// The length of a step, and of the broker alone, as a share of a round.
const STEP: f64 = 0.4;
/// The shortest and the longest that a round may be.
const SHORTEST: f64 = 1.0;
const SHORTEST_STEP: f64 = 0.8;
const LONGEST: f64 = 10.0;

/// Finds a backend of the program by an address's scheme.
/// A function and not a list, so that this crate needs no dependency on any backend.
#[derive(Clone, Copy, Debug)]
/// The error must say how to get a program that has the scheme.
pub struct Drivers(pub fn(&str) -> Result<&'static dyn Driver>);

impl Drivers {
    /// Returns the driver for a scheme. The error says how to build a program that has it.
    pub(super) fn find(&self, scheme: &str) -> Result<&'static dyn Driver> {
        (self.0)(scheme)
    }

    /// Opens an address by its scheme's driver. The error is that of the address, the scheme or the broker.
    pub(super) async fn open(&self, address: &str) -> Result<Opened> {
        let address: Address = address.parse()?;
        self.find(address.scheme())?.open(&address).await
    }
}

/// The whole of what is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Opens the brokers that are measured without a hub.
    pub drivers: Drivers,
    /// The backends to compare, in this order.
    pub backends: Vec<Backend>,
    /// The scenarios; faults are tried in the first.
    pub scenarios: Vec<Scenario>,
    /// Hub processes for each backend that can be shared.
    pub hubs: usize,
    /// How often the fixed rate is measured, in turn with the other backends.
    pub rounds: usize,
    /// Whether to search for the knee.
    pub ladder: bool,
    /// Cores of the hubs and of the load, as `taskset` takes them.
    pub pin: Option<(String, String)>,
    /// Whether to kill a hub at the end.
    pub kill_hub: bool,
    /// How long everything may take.
    pub time: Duration,
}

/// One backend, or hubs that run already.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The backplane's address, for hubs that are started; what is behind running hubs is asked of them.
    pub address: Option<String>,
    /// Running hubs: `http://HOST:PORT`.
    pub hubs: Vec<String>,
    /// Their publishers' key.
    pub key: Option<String>,
    /// Its row of the capability table: column and word.
    pub promises: Vec<(String, String)>,
    /// A command that kills and restarts its broker.
    pub restart: Option<String>,
    /// Whose `serve` is started; this program's own if nothing is said.
    ///
    /// Run by `sh -c` on this machine; it must return when the broker accepts connections again.
    pub build: Option<Build>,
}

/// A build of hubplane, to be told from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// What figures call it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
}

/// How long each part takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lengths {
    pub(super) warm_up: Duration,
    pub(super) round: Duration,
    /// The broker alone, behind each round.
    pub(super) alone: Duration,
    pub(super) step_warm_up: Duration,
    pub(super) step: Duration,
}

impl Plan {
    /// Returns lengths with which the run fits in its time: more backends and scenarios make rounds shorter. A round is
    /// never shorter than 1 s, even if the run then takes longer than it should.
    pub(super) fn lengths(&self) -> Lengths {
        // time = fixed + scaled * round; solved for the round.
        let (fixed, scaled) = self.work();
        let round = (self.time.as_secs_f64() - fixed) / scaled;
        // Too short a round has too few messages for a p99; too long a one tells nothing more.
        let round = round.clamp(SHORTEST, LONGEST);
        Lengths {
            warm_up: Duration::from_secs_f64(WARM_UP),
            round: Duration::from_secs_f64(round),
            alone: Duration::from_secs_f64((round * STEP).max(SHORTEST_STEP)),
            step_warm_up: Duration::from_secs_f64(STEP_WARM_UP),
            step: Duration::from_secs_f64((round * STEP).max(SHORTEST_STEP)),
        }
    }

    /// Returns about how long the run takes.
    pub(super) fn estimate(&self) -> Duration {
        let (fixed, scaled) = self.work();
        Duration::from_secs_f64(fixed + scaled * self.lengths().round.as_secs_f64())
    }

    /// Seconds that are needed in any case, and how many rounds' lengths come on top.
    fn work(&self) -> (f64, f64) {
        let pairs = (self.backends.len() * self.scenarios.len()) as f64;
        let rounds = self.rounds as f64;
        // A round warms up twice: once through the hub, and once for the broker alone.
        let each = rounds * (START + 2.0 * (WARM_UP + SETTLE));
        let (ladder, steps) = match self.ladder {
            true => (
                STEPS * (STEP_WARM_UP + SETTLE) + START + FAILURES,
                STEPS * STEP,
            ),
            false => (0.0, 0.0),
        };
        // Every backend loses a hub, but only those with a command have their broker restarted.
        let killed = if self.kill_hub {
            self.backends.len()
        } else {
            0
        };
        let restarted = self.backends.iter().filter(|it| it.restart.is_some());
        let faults = (killed + restarted.count()) as f64 * FAULT;
        (
            pairs * (each + ladder) + faults,
            // At least 1, as it is a divisor; a plan without rounds is still a plan.
            (pairs * (rounds * (1.0 + STEP) + steps)).max(1.0),
        )
    }

    /// Returns how many measurements the run has, as progress counts them; faults are not among them.
    pub(super) fn measurements(&self) -> usize {
        let pairs = self.backends.len() * self.scenarios.len();
        pairs * (self.rounds + usize::from(self.ladder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(backends: usize, time: Duration) -> Plan {
        let backend = Backend {
            address: Some("memory:".to_owned()),
            hubs: Vec::new(),
            key: None,
            promises: Vec::new(),
            restart: None,
            build: None,
        };
        Plan {
            // A plan is pure arithmetic; a driver that is opened here would be a mistake.
            drivers: Drivers(|scheme| panic!("{scheme}: is opened by no plan")),
            backends: vec![backend; backends],
            scenarios: Scenario::built_in(),
            hubs: 2,
            rounds: 3,
            ladder: true,
            pin: None,
            kill_hub: false,
            time,
        }
    }

    #[test]
    fn more_to_do_makes_rounds_shorter_and_never_too_short() {
        let (few, many) = (plan(2, USUAL).lengths(), plan(6, USUAL).lengths());
        // More backends in the same time: shorter rounds, but long enough to measure.
        assert!(few.round > many.round && many.round >= Duration::from_secs(1));
        let crowded = plan(6, QUICK);
        // Where the time can't be kept, the shortest round is taken, and the estimate says that it
        // takes longer.
        assert_eq!(crowded.lengths().round, Duration::from_secs(1));
        assert!(crowded.estimate() > QUICK && plan(1, USUAL).estimate() <= USUAL);
    }
}
