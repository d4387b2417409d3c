//! `hubplane recommend`: turns options into needs, and prints which backends meet them.
//!
//! How a requirement is judged is in `hubplane_bench::recommend`; this file brings figures and promises together, and puts
//! the answers into words. Scripts depend on the exit code and the JSON.

use std::{path::PathBuf, time::Duration};

use hubplane_backplane::parse_duration;
use serde_json::json;

use super::{Failure, backends::promises, print};
use crate::backends::{DRIVERS, KNOWN};
use hubplane_bench::{
    merge::{Merged, describe},
    recommend::{Answer, Candidate, Judged, Needs, has_whole_cost, parse_size, recommend},
    report::day,
    scenario::Scenario,
    summary::Unit,
};

/// Warns that the figures of another machine differ from those of the user's own.
const SHIPPED: &str = "These figures were measured on our machine; yours will differ. Measure with `hubplane bench --json run.json`, \
                       then give --figures run.json.";

/// List which backends meet your requirements, which do not, and why.
///
/// Judges by what each backend promises and by measured figures. Each requirement is judged by itself; there is no score.
/// The exit code is 0 if at least one backend meets all requirements, and otherwise 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hubplane recommend --must-replay --survive-restart
  hubplane recommend --figures run.json --rate 5k --max-p99 50ms --have kafka --have redis")]
pub(super) struct Recommend {
    /// Clients that reconnect must receive the messages that they missed
    #[arg(long)]
    must_replay: bool,
    /// Messages that the broker accepted must survive its restart
    #[arg(long)]
    survive_restart: bool,
    /// All clients must receive the messages of a channel in the same order
    #[arg(long)]
    one_order: bool,
    /// Every message must arrive at least once
    #[arg(long)]
    at_least_once: bool,
    /// A single hub process is enough
    #[arg(long)]
    one_process: bool,
    /// Size of the largest message, such as 16KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    payload: Option<u64>,
    /// Highest latency at the 99th percentile, such as 50ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_p99: Option<Duration>,
    /// Messages in a second, such as 200 or 5k
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,
    /// Broker that you run already: redis, kafka or rabbitmq; can be given several times
    #[arg(long, value_name = "BROKER", value_parser = broker)]
    have: Vec<String>,
    /// Scenario whose figures are used
    #[arg(long, value_name = "NAME", default_value = "progress")]
    scenario: String,
    /// Files that `hubplane bench --json` wrote on your machine with your brokers [default: figures of our machine, which
    /// are part of this program]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    figures: Vec<PathBuf>,
    /// Judge only by what each backend promises, without figures
    #[arg(long, conflicts_with = "figures")]
    promises_only: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Reads the size of a message in bytes.
fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| format!("{text:?} is not a size; write 512 or 16KiB"))
}

/// Reads messages in a second; `k` means a thousand.
/// Zero and less are refused: no backend is to be measured at nothing.
fn rate(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => (text, 1.0),
    };
    let rate = number.parse::<f64>().map(|number| number * scale);
    rate.ok()
        // "inf" and "nan" are numbers to Rust.
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| format!("{text:?} is not a rate; write 200 or 5k"))
}

/// Reads a broker's name or one of its schemes, and returns the name. `memory` is refused, since it has no broker.
fn broker(text: &str) -> Result<String, String> {
    // A scheme may be written with its colon, as in an address.
    let text = text.trim_end_matches(':');
    let known = KNOWN.iter().filter(|(feature, _)| *feature != "memory");
    let mut found = known.clone();
    let named = found.find(|(feature, schemes)| *feature == text || schemes.contains(&text));
    named
        .map(|(feature, _)| (*feature).to_owned())
        .ok_or_else(|| {
            let mut all: Vec<_> = known.map(|(feature, _)| *feature).collect();
            all.dedup();
            format!(
                "{text:?} is not a broker that hubplane knows; it knows {}",
                all.join(", ")
            )
        })
}

impl Recommend {
    /// Prints the answers. Fails with exit code 1 if no backend meets all requirements, so that a script can test it.
    pub(super) fn run(&self) -> Result<(), Failure> {
        // The user's own figures win over those of this program.
        let merged = match self.figures.is_empty() {
            true if self.promises_only => None,
            true => Some(Merged::shipped()),
            false => Some(Merged::read(&self.figures).map_err(Failure::wrong)?),
        };
        let scenario = self.scenario(merged.as_ref())?;
        let judged = recommend(
            &self.needs(),
            &candidates(merged.as_ref(), &scenario.name),
            &scenario,
        );
        match self.json {
            true => print(json(&judged, merged.as_ref(), &scenario))?,
            false => {
                if self.figures.is_empty() && !self.promises_only {
                    print(SHIPPED)?;
                }
                print(text(&judged, merged.as_ref(), &scenario))?;
            }
        }
        // "Not known" is no yes: the exit code must not let a script go on.
        match judged.iter().any(|it| it.answer == Answer::Yes) {
            true => Ok(()),
            false => Err(Failure::failed(
                "no backend is known to meet all requirements",
            )),
        }
    }

    /// Turns the options into requirements.
    fn needs(&self) -> Needs {
        Needs {
            replay: self.must_replay,
            restart: self.survive_restart,
            one_order: self.one_order,
            at_least_once: self.at_least_once,
            one_process: self.one_process,
            payload: self.payload,
            p99: self.max_p99,
            rate: self.rate,
            have: self.have.clone(),
        }
    }

    /// Returns the scenario as it was measured, which may differ from the built-in one of the same name.
    ///
    /// # Errors
    ///
    /// Code 2 if the figures have no such scenario; the message lists those that they have.
    fn scenario(&self, merged: Option<&Merged>) -> Result<Scenario, Failure> {
        let Some(merged) = merged else {
            return Scenario::find(&self.scenario).map_err(Failure::wrong);
        };
        let mut measured = merged.scenarios.iter();
        let found = measured.find(|it| it.name == self.scenario);
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = merged.scenarios.iter().map(|it| &*it.name).collect();
            Failure::wrong(format!(
                "the figures have no scenario {}; they have {}",
                self.scenario,
                names.join(", ")
            ))
        })
    }
}

/// Returns the backends in question: those that were measured, and those that are known but were not.
/// A name such as `redis 2` belongs to the scheme before the blank.
fn candidates<'a>(merged: Option<&'a Merged>, scenario: &str) -> Vec<Candidate<'a>> {
    let measured = merged.map_or(&[][..], |it| &it.backends);
    let entry = |scheme: &str| KNOWN.iter().find(|(_, schemes)| schemes.contains(&scheme));
    let scheme = |name: &'a str| name.split(' ').next().unwrap_or_default();
    let mut all: Vec<_> = measured
        .iter()
        .map(|it| {
            let scheme = scheme(&it.name);
            Candidate {
                name: it.name.clone(),
                broker: entry(scheme)
                    .map_or(scheme, |(feature, _)| feature)
                    .to_owned(),
                // A file may be of a build without this backend; this build may know it.
                promises: match it.promises.is_empty() {
                    true => promises(scheme),
                    false => it.promises.clone(),
                },
                figures: it.scenarios.get(scenario),
            }
        })
        .collect();
    // List also what was not measured: what a backend promises may already rule it out or make it worth measuring.
    for (feature, schemes) in KNOWN {
        if !measured
            .iter()
            .any(|it| schemes.contains(&scheme(&it.name)))
        {
            all.push(Candidate {
                name: schemes[0].to_owned(),
                broker: (*feature).to_owned(),
                promises: promises(schemes[0]),
                figures: None,
            });
        }
    }
    all
}

/// Returns the answers for programs, with the sources of the figures.
///
/// Scripts depend on its form: keys are added and never renamed.
fn json(judged: &[Judged], merged: Option<&Merged>, scenario: &Scenario) -> serde_json::Value {
    json!({
        "scenario": scenario,
        "figures": merged.map(|it| &it.sources),
        "backends": judged,
    })
}

/// Returns the answers for people: where the figures come from, then the backends in three groups.
fn text(judged: &[Judged], merged: Option<&Merged>, scenario: &Scenario) -> String {
    let mut lines = Vec::new();
    match merged {
        Some(merged) => {
            for source in &merged.sources {
                lines.push(format!(
                    "Figures of the scenario {} ({}), measured on {} on {}.",
                    scenario.name,
                    scenario.what,
                    day(source.started),
                    describe(&source.machine)
                ));
            }
            lines.extend(merged.warnings());
        }
        None => lines.push(
            "Judged only by what each backend declares. Measure with `hubplane bench --json run.json`, then give \
             --figures run.json."
                .to_owned(),
        ),
    }
    // Each feature may stand there twice, as it has several backends.
    let absent: Vec<_> = KNOWN
        .iter()
        .filter(|(_, schemes)| !DRIVERS.iter().any(|it| it.schemes() == *schemes))
        .map(|(feature, _)| *feature)
        .collect();
    // With figures, what is missing in this build is judged by the file's own promises.
    if merged.is_none() && !absent.is_empty() {
        lines.push(
            "This build does not have every backend (see `hubplane backends`); it can't judge those that it lacks."
                .to_owned(),
        );
    }
    let whole = has_whole_cost(judged);
    for (answer, title) in [
        (Answer::Yes, "Meet all requirements"),
        (
            Answer::Unknown,
            "May meet all requirements, but something is not known",
        ),
        (Answer::No, "Do not meet all requirements"),
    ] {
        let of_it: Vec<_> = judged.iter().filter(|it| it.answer == answer).collect();
        if of_it.is_empty() {
            continue;
        }
        // The title of a group that nobody is in would raise a question.
        lines.push(String::new());
        // An order is claimed only where there are costs to order by.
        let measured = of_it.iter().filter(|it| it.hub_cpu.is_some()).count();
        let order = match (measured > 1, whole) {
            (true, true) if answer == Answer::Yes => {
                ", by CPU time per delivery of hubs and broker, the least first"
            }
            (true, false) if answer == Answer::Yes => {
                ", by CPU time per delivery of the hubs alone (the CPU time of some broker is not known), the least first"
            }
            _ => "",
        };
        lines.push(format!("{title}{order}:"));
        of_it.iter().for_each(|it| lines.extend(one(it)));
    }
    lines.join("\n")
}

/// Returns the lines of one backend: its costs, and each need with its answer and reason.
/// A cost of 0 is that of a broker that does not exist, and is not shown.
fn one(judged: &Judged) -> Vec<String> {
    let cost = |what: &str, cost: Option<f64>| {
        let cost = cost.filter(|cost| *cost > 0.0)?;
        Some(format!("{what} {}", Unit::Time.show(cost)))
    };
    let costs = [
        cost("hubs", judged.hub_cpu),
        cost("broker", judged.broker_cpu),
    ];
    let costs: Vec<_> = costs.into_iter().flatten().collect();
    let name = &judged.name;
    let mut lines = vec![match costs.is_empty() {
        true => format!("  {name}"),
        false => format!("  {name}, CPU per delivery: {}", costs.join(", ")),
    }];
    for reason in &judged.reasons {
        let word = match reason.answer {
            Answer::Yes => "yes",
            Answer::Unknown => "?",
            Answer::No => "no",
        };
        lines.push(format!(
            "    {word:<3}  {}: {} ({})",
            reason.need, reason.says, reason.from
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_brokers_are_read_as_people_write_them() {
        assert_eq!(rate("5k"), Ok(5_000.0));
        assert_eq!(rate("200"), Ok(200.0));
        // Units other than k, and numbers that are none.
        assert!(
            ["", "k", "-1", "5m", "inf"]
                .iter()
                .all(|it| rate(it).is_err())
        );
        assert_eq!(broker("amqp+streams").as_deref(), Ok("rabbitmq"));
        assert_eq!(broker("redis:").as_deref(), Ok("redis"));
        assert!(
            broker("memory")
                .unwrap_err()
                .contains("redis, kafka, rabbitmq")
        );
    }

    #[test]
    fn what_is_known_and_was_not_measured_is_a_candidate_too() {
        // A second redis must not make the first one look unmeasured.
        let mut run = hubplane_bench::sample::run();
        run.backends[1].name = "redis 2".to_owned();
        let merged = Merged::from(run);
        let all = candidates(Some(&merged), "progress");
        let names: Vec<_> = all
            .iter()
            .map(|it| (&*it.name, it.figures.is_some()))
            .collect();
        assert_eq!(
            names,
            [
                ("memory", true),
                ("redis 2", true),
                ("kafka", true),
                ("redis+streams", false),
                ("amqp", false),
                ("amqp+streams", false)
            ]
        );
        assert_eq!(all[1].broker, "redis");
        assert_eq!(all[4].broker, "rabbitmq");
    }
}
