//! What a run has measured, as it is kept in JSON: written by `--json`, read by `report` and `recommend`.
//!
//! Times are in microseconds, sizes in bytes, rates per second. What could not be measured is absent (`null`), never 0: a
//! 0 would look like a very good figure. This file holds values only; how they are measured is in `load` and `site`, and
//! what may be concluded from them in [`super::summary`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scenario::Scenario;

/// The number of this layout. A file with another number is refused. A new field that may be absent does not change it.
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
    /// When the run began: seconds since 1970.
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
    /// Cores of the machine, whether or not the run used all.
    pub cores: usize,
    /// Memory in bytes.
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
    /// The figures, by the scenario's name.
    pub scenarios: BTreeMap<String, Figures>,
    /// Why there are no figures, or not all.
    pub failure: Option<String>,
}

/// What one backend did in one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The measurements at the scenario's fixed rate. They are made in turn with the other backends, so that whatever
    /// slows the machine for a while slows all of them.
    pub rounds: Vec<Round>,
    /// The broker alone, measured once for all rounds: only in old files. `Figures::place_alone` moves it.
    #[serde(default, rename = "direct", skip_serializing)]
    pub once: Option<Latency>,
    /// The steps of the search for the highest rate, in the order in which they were measured.
    pub ladder: Vec<Step>,
    /// The highest rate at which nothing was lost and p99 was within the scenario's limit; messages a second.
    pub knee: Option<f64>,
    /// What was broken on purpose, and what came of it.
    pub faults: Vec<Fault>,
}

/// One measurement at one rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// Which run of a merged report it is from: a place in `Merged::sources`; 0 in a run's own file.
    #[serde(default)]
    pub run: usize,
    /// Messages that were due per second.
    pub rate: f64,
    /// How long the counted part took, without the warm-up. Seconds.
    pub seconds: f64,
    /// Messages that were due in this time. Only these count below, whenever their answers and deliveries came.
    pub due: u64,
    /// How many of these the hub acknowledged.
    pub acknowledged: u64,
    /// How many of these the hub refused or never answered.
    pub refused: u64,
    /// Deliveries: a message to three subscribers counts three times.
    pub delivered: u64,
    /// Deliveries that are missing: every acknowledged message is due at every subscriber of its channel.
    pub lost: u64,
    /// Deliveries of a message that the subscriber had already.
    pub repeated: u64,
    /// Deliveries behind a later message of the same publisher and channel.
    pub reordered: u64,
    /// The time from when a message was due until its publisher had the acknowledgement.
    pub acknowledgement: Latency,
    /// The time from when a message was due until a subscriber had it. From when it was due and not from when it was sent:
    /// so a hub that stands still is charged for all messages that wait meanwhile.
    pub delivery: Latency,
    /// How late the load itself published, the 99th percentile, in microseconds. If this is as large as a latency, that
    /// latency tells of the load and not of the hub.
    pub late: u64,
    /// CPU time, memory and bytes on the wire.
    pub cost: Cost,
    /// The broker alone, that is the driver without a hub, measured right after this round by the same clock and at the
    /// same rate. What the hub adds is the difference.
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
    /// Moves what an old file measured once for all rounds to the first round, so that readers find it in one place.
    pub(super) fn place_alone(&mut self) {
        if let (Some(once), Some(first)) = (self.once.take(), self.rounds.first_mut()) {
            first.alone.get_or_insert(once);
        }
    }
}

/// What a measurement cost, by the operating system's accounting. CPU time is divided by the deliveries and not by the
/// messages: delivering is most of a hub's work, and scenarios differ in how many subscribers a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of all hubs together, in microseconds per delivery. Absent for hubs that were not started here.
    pub hub_cpu: Option<f64>,
    /// CPU time of the broker, in microseconds per delivery. Absent if its process is not on this machine or may not be
    /// looked at.
    pub broker_cpu: Option<f64>,
    /// Memory of all hubs at the end, in bytes, as PSS: pages that processes share are divided among them, so the sum
    /// counts the program's code once.
    pub hub_memory: Option<u64>,
    /// Memory of the broker, counted likewise.
    pub broker_memory: Option<u64>,
    /// Bytes between hubs and broker, in both directions, per message that was due.
    pub wire: Option<f64>,
    /// CPU time of the load itself, as a share of one core. Near 1 the load is the limit, not the hub.
    pub load_cpu: Option<f64>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many times were measured.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// All times, ascending: a value, rounded up to two digits, and how often it was measured. From these, several rounds
    /// are pooled: percentiles can't be averaged.
    pub buckets: Vec<(u64, u64)>,
}

/// One step of a ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which run of a merged report it is from.
    #[serde(default)]
    pub run: usize,
    /// Messages that were due per second.
    pub rate: f64,
    /// Deliveries per second.
    pub deliveries: f64,
    /// The median of the delivery's time, in microseconds.
    pub p50: u64,
    /// The 99th percentile of the delivery's time, in microseconds.
    pub p99: u64,
    /// Deliveries that are missing.
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
    /// From the fault until the last subscriber got a message that was due after it, in milliseconds. Absent if one of
    /// them got none within the time watched.
    pub recovered: Option<u64>,
    /// Deliveries of acknowledged messages that are missing, although each subscriber asked for what it had missed.
    pub lost: u64,
    /// How many of these are missing at a subscriber that was told of a gap.
    pub announced: u64,
    /// Publications that were refused or not answered meanwhile.
    pub refused: u64,
}
