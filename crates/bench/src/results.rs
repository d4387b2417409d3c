//! What a run has measured, as it is kept in JSON: written by `--json`, read by `report` and `recommend`.
//!
//! Times are microseconds, sizes bytes, rates a second. What could not be measured is absent (`null`), never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scenario::Scenario;

/// The layout of this file; one with another number is refused.
pub const VERSION: u32 = 1;

/// The columns of the capability table that say what a backend declares, in the order in which they are shown. The
/// command `hubplane backends`, the report and README.md all have these.
pub const PROMISES: [&str; 8] = [
    "order",
    "delivery",
    "replay",
    "durability",
    "on restart",
    "interest",
    "payload",
    "channel",
];

/// Returns what a row of the capability table says in this column, or `None` if the row does not have it: a run of an
/// older version, or a backend that was not in the build.
pub fn promise<'a>(promises: &'a [(String, String)], column: &str) -> Option<&'a str> {
    let found = promises.iter().find(|(name, _)| name == column);
    found.map(|(_, says)| &**says)
}

/// Returns whether a backend with these promises keeps its messages inside one hub process, with no broker behind it.
pub fn is_one_process(promises: &[(String, String)]) -> bool {
    promise(promises, "on restart") == Some("no broker")
}

/// One run: several backends, the same scenarios, one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// [`VERSION`].
    pub version: u32,
    /// When it began: seconds since 1970.
    pub started: u64,
    /// The command line, with secrets left out.
    pub command: String,
    /// The version of hubplane that measured.
    pub hubplane: String,
    /// What it ran on.
    pub machine: Machine,
    /// Hub processes for each backend.
    pub hubs: usize,
    /// The scenarios, in their order.
    pub scenarios: Vec<Scenario>,
    /// The backends, in the order of the command line.
    pub backends: Vec<Measured>,
}

/// The machine that a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that the run could use.
    pub cores: usize,
    /// Memory.
    pub memory: u64,
    /// The operating system and its kernel.
    pub system: String,
}

/// One backend's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// What tables and charts call it: its scheme, with a number behind it where there are several.
    pub name: String,
    /// Its address, without secrets.
    pub address: String,
    /// A fingerprint of the hubs' program: figures of another one are kept apart. Absent if it is not known.
    #[serde(default)]
    pub program: Option<String>,
    /// The capability table's row: the column's name and what it says.
    pub promises: Vec<(String, String)>,
    /// By the scenario's name.
    pub scenarios: BTreeMap<String, Figures>,
    /// Why there are no figures, or not all.
    pub failure: Option<String>,
}

/// What one backend did in one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The fixed rate, measured again and again, in turn with the other backends.
    pub rounds: Vec<Round>,
    /// The broker alone, measured once for all rounds, as old files have it: `Figures::place_alone`.
    #[serde(default, rename = "direct", skip_serializing)]
    pub once: Option<Latency>,
    /// The ladder's steps, by rate.
    pub ladder: Vec<Step>,
    /// The highest rate at which nothing was lost and p99 was within the scenario's limit; messages a second.
    pub knee: Option<f64>,
    /// What was broken on purpose, and how long it took.
    pub faults: Vec<Fault>,
}

/// One measurement at one rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// Which run of a merged report it is from; 0 in a run's own file.
    #[serde(default)]
    pub run: usize,
    /// Messages that were due, a second.
    pub rate: f64,
    /// How long it took.
    pub seconds: f64,
    /// Messages that were due.
    pub due: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Of these, refused or never answered.
    pub refused: u64,
    /// Messages that subscribers got.
    pub delivered: u64,
    /// Acknowledged, due at a subscriber, and not there.
    pub lost: u64,
    /// Delivered again.
    pub repeated: u64,
    /// Delivered behind a later one of the same publisher and channel.
    pub reordered: u64,
    /// From when it was due to its acknowledgement.
    pub acknowledgement: Latency,
    /// From when it was due to a subscriber.
    pub delivery: Latency,
    /// The 99th percentile of how late the load itself was: what is above the figures' own size spoils them.
    pub late: u64,
    /// What it cost.
    pub cost: Cost,
    /// The broker alone, right behind it, by the same clock and at the same rate: the driver without a hub.
    #[serde(default)]
    pub alone: Option<Latency>,
}

impl Measured {
    /// What the backend declares in this column of the capability table; absent if it is not known.
    pub fn promise(&self, column: &str) -> Option<&str> {
        promise(&self.promises, column)
    }

    /// Whether its messages stay inside one hub process, so that its figures are for less work than those of a broker.
    pub fn is_one_process(&self) -> bool {
        is_one_process(&self.promises)
    }
}

impl Figures {
    /// Gives what an old file measured once for all rounds to the first.
    pub(super) fn place_alone(&mut self) {
        if let (Some(once), Some(first)) = (self.once.take(), self.rounds.first_mut()) {
            first.alone.get_or_insert(once);
        }
    }
}

/// What a measurement cost, by the operating system's accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of all hubs, microseconds a delivery.
    pub hub_cpu: Option<f64>,
    /// CPU time of the broker, microseconds a delivery.
    pub broker_cpu: Option<f64>,
    /// Memory of all hubs, proportional (PSS), at the end.
    pub hub_memory: Option<u64>,
    /// The broker's.
    pub broker_memory: Option<u64>,
    /// Bytes between hubs and broker, both ways, a message.
    pub wire: Option<f64>,
    /// CPU time of the load itself, as a share of one core: near 1 it is the limit.
    pub load_cpu: Option<f64>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many times.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// The whole of it: value and how often, ascending, to two digits.
    pub buckets: Vec<(u64, u64)>,
}

/// One step of a ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which run of a merged report it is from.
    #[serde(default)]
    pub run: usize,
    /// Messages that were due, a second.
    pub rate: f64,
    /// Deliveries a second.
    pub deliveries: f64,
    /// Of the delivery.
    pub p50: u64,
    /// Of the delivery.
    pub p99: u64,
    /// Acknowledged and not delivered.
    pub lost: u64,
    /// Whether the step holds: nothing lost or refused, and p99 within the limit.
    pub held: bool,
}

/// Something broken on purpose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// Which run of a merged report it is from.
    #[serde(default)]
    pub run: usize,
    /// `hub` or `broker`.
    pub what: String,
    /// From the fault until every subscriber got messages again, milliseconds; absent where that did not happen.
    pub recovered: Option<u64>,
    /// Acknowledged messages that no subscriber got, although it asked for what it had missed.
    pub lost: u64,
    /// Of these, those for which the subscriber was told so.
    pub announced: u64,
    /// Publications that were refused meanwhile.
    pub refused: u64,
}
