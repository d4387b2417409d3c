//! A run as a machine with two cores could have made it: three backends, two scenarios, three rounds. For tests, also
//! those outside of this crate.

use std::collections::BTreeMap;

use super::{
    results::{
        Cost, Fault, Figures, Latency, Machine, Measured, PROMISES, Round, Run, Step, VERSION,
    },
    scenario::Scenario,
};

/// What tells one backend from another.
struct Shape {
    name: &'static str,
    address: &'static str,
    /// Microseconds of the broker alone; absent for none.
    broker: Option<f64>,
    /// How much slower p99 is than the median.
    /// CPU time of the hubs per delivery before any load, in microseconds.
    tail: f64,
    cpu: f64,
    /// The highest rate for two subscribers, in messages a second; more subscribers divide it.
    knee: f64,
    /// What it declares, in the order of [`PROMISES`].
    promises: [&'static str; PROMISES.len()],
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "memory",
        address: "memory:",
        broker: None,
        tail: 3.0,
        cpu: 5.0,
        knee: 32_000.0,
        promises: [
            "per channel",
            "at most once",
            "max-messages and max-bytes, in this process's memory",
            "process",
            "no broker",
            "everything",
            "1 MiB",
            "1 KiB",
        ],
    },
    Shape {
        name: "redis",
        address: "redis://127.0.0.1:6379",
        broker: Some(95.0),
        tail: 3.5,
        cpu: 6.1,
        knee: 16_000.0,
        promises: [
            "per publisher",
            "at most once",
            "none",
            "forwarded",
            "announced",
            "routed",
            "1 MiB",
            "1 KiB",
        ],
    },
    Shape {
        name: "kafka",
        address: "kafka://127.0.0.1:9092?topic=bench",
        broker: Some(780.0),
        tail: 6.0,
        cpu: 7.4,
        knee: 8_000.0,
        promises: [
            "per channel",
            "at least once",
            "the topic's retention",
            "logged",
            "delivered",
            "everything",
            "1000000 B",
            "1 KiB",
        ],
    },
];

/// The made-up run.
///
/// It is the same at each call: nothing in it is random, so that tests may compare texts.
pub fn run() -> Run {
    let built_in = Scenario::built_in();
    let scenarios: Vec<_> = built_in
        .into_iter()
        .filter(|scenario| ["progress", "fanout"].contains(&&*scenario.name))
        .collect();
    Run {
        version: VERSION,
        started: 1_795_600_000,
        command: "hubplane bench --backplane memory: --backplane redis://127.0.0.1:6379 --backplane \
                  kafka://127.0.0.1:9092?topic=bench --scenario progress --scenario fanout --json run.json"
            .to_owned(),
        hubplane: "0.1.0".to_owned(),
        machine: Machine {
            processor: "AMD EPYC 7B13".to_owned(),
            cores: 2,
            memory: 8 << 30,
            system: "Debian GNU/Linux 12, Linux 6.1.0".to_owned(),
        },
        hubs: 2,
        backends: SHAPES
            .iter()
            .map(|shape| measured(shape, &scenarios))
            .collect(),
        scenarios,
    }
}

/// One backend's figures in all scenarios; without a fingerprint, as an older file has none.
fn measured(shape: &Shape, scenarios: &[Scenario]) -> Measured {
    let mut all = BTreeMap::new();
    for scenario in scenarios {
        all.insert(scenario.name.clone(), figures(shape, scenario));
    }
    let promises = PROMISES.iter().zip(shape.promises);
    Measured {
        name: shape.name.to_owned(),
        address: shape.address.to_owned(),
        program: None,
        promises: promises
            .map(|(column, cell)| ((*column).to_owned(), cell.to_owned()))
            .collect(),
        scenarios: all,
        failure: None,
    }
}

/// One backend's figures in one scenario.
fn figures(shape: &Shape, scenario: &Scenario) -> Figures {
    // More subscribers make a message more work, so fewer messages a second are possible.
    let wide = f64::from(scenario.subscribers());
    let knee = shape.knee * 2.0 / wide.max(2.0);
    // A fanout's last subscriber waits for the others.
    let median = shape.broker.unwrap_or(20.0) + 45.0 + 2.0 * wide;
    // Steps of twice the rate, up to two that fail.
    let ladder: Vec<_> = (0..)
        .map(|n| scenario.ladder.from * 2f64.powi(n))
        .take_while(|rate| *rate < knee * 4.1)
        .map(|rate| step(scenario, rate, knee, median * shape.tail))
        .collect();
    let fault = |what: &str, recovered, lost, announced| Fault {
        run: 0,
        what: what.to_owned(),
        recovered: Some(recovered),
        lost,
        announced,
        refused: 12,
    };
    // As the backends declare: redis announces losses, kafka has none, memory has no broker to
    // kill.
    let faults = match (&*scenario.name, shape.name) {
        ("progress", "redis") => vec![fault("hub", 310, 44, 44), fault("broker", 620, 120, 120)],
        ("progress", "kafka") => vec![fault("hub", 290, 0, 0), fault("broker", 2_900, 0, 0)],
        _ => Vec::new(),
    };
    Figures {
        // Later rounds are up to 8 % slower: a range that is neither empty nor wide.
        rounds: (0..3)
            .map(|n| round(shape, scenario, median * (1.0 + 0.04 * f64::from(n))))
            .collect(),
        once: None,
        knee: ladder.iter().rfind(|step| step.held).map(|step| step.rate),
        ladder,
        faults,
    }
}

/// One step of a ladder. `p99` is in microseconds, without load.
fn step(scenario: &Scenario, rate: f64, knee: f64, p99: f64) -> Step {
    // Near the knee latency grows as a queue's does (1 / (1 - load)); the cap keeps it finite.
    let p99 = p99 / (1.0 - (rate / knee / 1.6).min(0.999));
    let held = rate <= knee && p99 < scenario.ladder.p99_ms as f64 * 1000.0;
    Step {
        run: 0,
        rate,
        // Beyond the knee a hub delivers little more than at it.
        deliveries: rate.min(knee * 1.3) * f64::from(scenario.subscribers()),
        p50: (p99 / 3.0) as u64,
        p99: p99 as u64,
        lost: 0,
        held,
    }
}

/// A round of 10 s in which all is well. `median` is in microseconds.
fn round(shape: &Shape, scenario: &Scenario, median: f64) -> Round {
    let due = (scenario.rate * 10.0) as u64;
    let delivered = due * u64::from(scenario.subscribers());
    let broker = shape.broker.map(|_| shape.cpu / 2.0);
    Round {
        run: 0,
        rate: scenario.rate,
        seconds: 10.0,
        due,
        acknowledged: due,
        refused: 0,
        delivered,
        lost: 0,
        repeated: 0,
        reordered: 0,
        acknowledgement: latency(median * 0.8, shape.tail, due),
        delivery: latency(median, shape.tail, delivered),
        late: 60,
        cost: Cost {
            // A slower backend also costs more, by a little.
            hub_cpu: Some(shape.cpu * median / (median + 10.0)),
            broker_cpu: broker,
            hub_memory: Some(23 << 20),
            broker_memory: broker.map(|cpu| (cpu * 40.0) as u64 * (1 << 20)),
            wire: broker.map(|cpu| 310.0 + 50.0 * cpu),
            load_cpu: Some(0.4),
        },
        // The broker alone has fewer measurements: one receiver for each message.
        alone: shape
            .broker
            .map(|broker| latency(broker, shape.tail, 5_000)),
    }
}

/// A distribution with this median, and a p99 of so many times it.
fn latency(median: f64, tail: f64, count: u64) -> Latency {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    let mut before = 0;
    for n in 1..=240 {
        // Per cent, per mille and so on of what is above, in even steps.
        let above = 10f64.powf(-f64::from(n) / 40.0);
        // How many measurements are at or below this point.
        let below = ((1.0 - above) * count as f64).round() as u64;
        // 0 at the median, 1 at the 99th percentile.
        let depth = (-above.log10() - 0.301) / 1.699;
        // Below the median the curve is flatter than above.
        let exact = median * tail.powf(if depth < 0.0 { depth * 0.8 } else { depth });
        // Rounded to two digits, as buckets of a real run are.
        let digits = 10f64.powf(exact.log10().floor() - 1.0).max(1.0);
        let value = ((exact / digits).round() * digits) as u64;
        // Neighbouring points may fall on one value.
        match buckets.last_mut() {
            Some((last, often)) if *last == value => *often += below - before,
            _ if below > before => buckets.push((value, below - before)),
            _ => {}
        }
        before = below;
    }
    // What rounding has left over belongs to the last bucket, so that the counts add up.
    if let Some((_, often)) = buckets.last_mut() {
        *often += count - before;
    }
    let at = |share: f64| {
        let wanted = (share * count as f64).ceil() as u64;
        let mut seen = 0;
        let found = buckets.iter().find(|(_, often)| {
            seen += often;
            seen >= wanted
        });
        found.map_or(0, |(value, _)| *value)
    };
    Latency {
        count,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
        buckets,
    }
}
