//! Tells which backends meet a user's requirements, by what the backends declare and by what was measured.
//!
//! Each requirement gets its own answer and reason; nothing is weighed against anything else, and there is no score. The
//! command line (`hubplane recommend`) turns options into [`Needs`] and prints the result; this file knows neither options
//! nor any backend by name.

mod words;

use std::time::Duration;

use serde::Serialize;

use super::{
    results::{Figures, Step, is_one_process, promise},
    scenario::Scenario,
    summary::{Figure, Unit, rate},
};
pub use words::parse_size;
use words::{measure_at, plain, range, time};

/// What the user requires. The default requires nothing, except that several hub processes share the messages.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Clients that reconnect receive the messages that they missed.
    pub replay: bool,
    /// Messages that the broker acknowledged before its restart are delivered after it.
    pub restart: bool,
    /// All clients see one order of a channel's messages.
    pub one_order: bool,
    /// Every message arrives; it may arrive twice.
    pub at_least_once: bool,
    /// One hub process is enough.
    pub one_process: bool,
    /// The largest message, in bytes.
    pub payload: Option<u64>,
    /// The highest 99th percentile of the delivery that the user accepts; without it, the scenario's own limit counts.
    pub p99: Option<Duration>,
    /// The rate that the backend must hold, in published messages a second.
    pub rate: Option<f64>,
    /// The brokers that the user runs already; empty if any broker may be set up.
    pub have: Vec<String>,
}

/// A backend that is to be judged.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its name in the figures, or its scheme.
    pub name: String,
    /// The broker that it needs.
    pub broker: String,
    /// The capability table's row: the column's name and what it says; empty if it is not known.
    pub promises: Vec<(String, String)>,
    /// Its figures in the scenario; absent if it was not measured there.
    pub figures: Option<&'a Figures>,
}

/// Whether a backend meets a requirement. The order goes from good to bad, so that the largest answer is the worst one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The backend meets it.
    Yes,
    /// Neither a declaration nor a figure tells.
    Unknown,
    /// The backend does not meet it.
    No,
}

/// The answer to one requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The requirement in words.
    pub need: String,
    /// Whether it is met.
    pub answer: Answer,
    /// The declaration or the figure that gave the answer.
    pub says: String,
    /// Where the reason comes from: declared, measured, or the user's choice.
    pub from: &'static str,
}

/// The answers for one backend.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The backend.
    pub name: String,
    /// The worst of all answers.
    pub answer: Answer,
    /// One reason for each requirement.
    pub reasons: Vec<Reason>,
    /// CPU time of all hubs in microseconds per delivery, the median of the rounds.
    pub hub_cpu: Option<f64>,
    /// The same for the broker; 0 if the backend has none, absent if the broker's process was not seen.
    pub broker_cpu: Option<f64>,
}

/// A ladder seldom tries exactly the rate that the user asks for. A step whose rate is at most this many times the wanted
/// rate counts as measured at that rate.
const NEAR: f64 = 1.05;

const DECLARED: &str = "declared";
const MEASURED: &str = "measured";
const GIVEN: &str = "your choice";

/// Judges all candidates. Returns first those that meet all requirements, then those of which something is not known,
/// then the others; within each group the one with the least CPU time per delivery comes first.
pub fn recommend(needs: &Needs, candidates: &[Candidate<'_>], scenario: &Scenario) -> Vec<Judged> {
    let judge = |candidate| {
        Judge {
            needs,
            candidate,
            scenario,
        }
        .judge()
    };
    let mut judged: Vec<_> = candidates.iter().map(judge).collect();
    // Hubs and broker together are compared only if both are known of all; otherwise a backend whose broker was not seen
    // would look cheap.
    let whole = has_whole_cost(&judged);
    judged.sort_by(|a, b| {
        let costs = (a.cpu(whole), b.cpu(whole));
        let cost = match costs {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        a.answer.cmp(&b.answer).then(cost)
    });
    judged
}

/// Returns true if the broker's CPU time is known for every backend that meets all requirements and was measured. If it is
/// not, only the hubs' CPU time can be compared.
pub fn has_whole_cost(judged: &[Judged]) -> bool {
    let satisfy = judged.iter().filter(|it| it.answer == Answer::Yes);
    let mut measured = satisfy.filter(|it| it.hub_cpu.is_some());
    measured.all(|it| it.broker_cpu.is_some())
}

impl Judged {
    /// Returns microseconds per delivery: of hubs and broker if `whole`, and otherwise of the hubs only.
    fn cpu(&self, whole: bool) -> Option<f64> {
        match whole {
            true => Some(self.hub_cpu? + self.broker_cpu?),
            false => self.hub_cpu,
        }
    }
}

/// One candidate and all that its answers depend on.
struct Judge<'a> {
    needs: &'a Needs,
    candidate: &'a Candidate<'a>,
    scenario: &'a Scenario,
}

fn reason(need: &str, answer: Answer, says: String, from: &'static str) -> Reason {
    Reason {
        need: need.to_owned(),
        answer,
        says,
        from,
    }
}

const fn answer(met: bool) -> Answer {
    if met { Answer::Yes } else { Answer::No }
}

impl Judge<'_> {
    /// Answers every requirement; the backend's own answer is the worst of them.
    fn judge(&self) -> Judged {
        let mut reasons = self.declared();
        reasons.extend(self.measured());
        let worst = reasons.iter().map(|it| it.answer).max();
        let median = |figure: Figure| Some(figure.spread(self.candidate.figures?)?.median);
        let hub_cpu = median(Figure::HubCpu);
        let broker_cpu = match is_one_process(&self.candidate.promises) {
            true => hub_cpu.map(|_| 0.0),
            false => median(Figure::BrokerCpu),
        };
        Judged {
            name: self.candidate.name.clone(),
            answer: worst.unwrap_or(Answer::Yes),
            reasons,
            hub_cpu,
            broker_cpu,
        }
    }

    /// Answers a requirement by what the backend declares in a column of the capability table.
    fn by(&self, need: &str, column: &str, met: impl Fn(&str) -> bool) -> Reason {
        match promise(&self.candidate.promises, column) {
            Some(says) => reason(need, answer(met(says)), plain(column, says), DECLARED),
            None => {
                let says = "this build does not have this backend, so it can't tell".to_owned();
                reason(need, Answer::Unknown, says, DECLARED)
            }
        }
    }

    /// Answers the requirements that a declaration decides. No measurement can prove these: a run without a loss does not
    /// show that a backend never loses a message.
    fn declared(&self) -> Vec<Reason> {
        let (needs, mut reasons) = (self.needs, Vec::new());
        if !needs.have.is_empty() && !is_one_process(&self.candidate.promises) {
            let have = needs.have.contains(&self.candidate.broker);
            let says = format!(
                "it needs {}; you have {}",
                self.candidate.broker,
                super::summary::list(&needs.have)
            );
            reasons.push(reason("a broker that you have", answer(have), says, GIVEN));
        }
        if !needs.one_process {
            reasons.push(self.by(
                "several hub processes share the messages",
                "on restart",
                |says| says != "no broker",
            ));
        }
        if needs.replay {
            reasons.push(self.by(
                "clients that come back get what they missed",
                "replay",
                |says| says != "none",
            ));
        }
        if needs.restart {
            let need = "what was accepted survives a restart of the broker";
            reasons.push(self.by(need, "on restart", |says| says == "delivered"));
        }
        if needs.one_order {
            let need = "one order of a channel for all";
            reasons.push(self.by(need, "order", |says| says == "per channel"));
        }
        if needs.at_least_once {
            reasons.push(self.by("every message at least once", "delivery", |says| {
                says == "at least once"
            }));
        }
        if let Some(payload) = needs.payload {
            let need = format!("messages of {payload} bytes");
            reasons.push(self.by(&need, "payload", |says| {
                parse_size(says).is_some_and(|most| payload <= most)
            }));
        }
        reasons
    }

    /// Answers the requirements that figures decide: rate, latency, and what was lost.
    fn measured(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let needs = self.needs;
        let need = match (needs.rate, needs.p99) {
            (Some(wanted), _) => {
                let limit = time(self.limit());
                Some(format!(
                    "{} messages a second with p99 of at most {limit}",
                    rate(wanted)
                ))
            }
            (None, Some(limit)) => Some(format!("p99 of at most {}", time(limit))),
            (None, None) => None,
        };
        let Some(figures) = self.candidate.figures else {
            let says = || "it was not measured".to_owned();
            reasons.extend(need.map(|need| reason(&need, Answer::Unknown, says(), MEASURED)));
            return reasons;
        };
        if let Some(need) = need {
            let (answer, says) = match needs.rate {
                Some(wanted) => self.at_rate(figures, wanted),
                None => self.at_fixed_rate(figures),
            };
            reasons.push(reason(&need, answer, says, MEASURED));
        }
        // A loss counts against a backend even if the user did not ask: at the fixed rate nothing was broken on purpose.
        let lost: u64 = figures.rounds.iter().map(|round| round.lost).sum();
        if lost > 0 {
            let says = format!("{lost} deliveries lost at the fixed rate");
            reasons.push(reason("nothing lost", Answer::No, says, MEASURED));
        }
        if needs.restart {
            reasons.extend(after_restart(figures));
        }
        reasons
    }

    /// Returns the highest p99 that is accepted: the user's, or else the scenario's own limit.
    fn limit(&self) -> Duration {
        self.needs.p99.unwrap_or(self.scenario.limit())
    }

    /// Judges p99 at the scenario's own rate. The worst round counts, so that one lucky round does not promise too much.
    fn at_fixed_rate(&self, figures: &Figures) -> (Answer, String) {
        let Some(spread) = Figure::DeliveryP99.spread(figures) else {
            return (Answer::Unknown, "it has no rounds".to_owned());
        };
        let limit = self.limit().as_micros() as f64;
        let says = format!(
            "p99 {} at {} messages a second; the worst round counts",
            range(spread),
            rate(self.scenario.rate)
        );
        (answer(spread.most <= limit), says)
    }

    /// Judges a wanted rate by the ladders: each run must have a step of at least this rate that held.
    fn at_rate(&self, figures: &Figures, wanted: f64) -> (Answer, String) {
        let limit = self.limit().as_micros() as u64;
        let mut runs: Vec<usize> = figures.ladder.iter().map(|step| step.run).collect();
        runs.sort_unstable();
        runs.dedup();
        let answers = runs.iter().map(|run| {
            let of_run = |step: &&Step| step.run == *run;
            let steps: Vec<&Step> = figures.ladder.iter().filter(of_run).collect();
            climb(&steps, wanted, limit)
        });
        // The worst run counts.
        let worst = answers.max_by_key(|(answer, _)| *answer);
        worst.unwrap_or_else(|| {
            let known = self.scenario.rate >= wanted && !figures.rounds.is_empty();
            match known {
                true => self.at_fixed_rate(figures),
                false => (
                    Answer::Unknown,
                    format!("its highest rate was not measured; {}", measure_at(wanted)),
                ),
            }
        })
    }
}

/// Judges a wanted rate by the ladder of one run. `limit` is the highest accepted p99 in microseconds.
fn climb(steps: &[&Step], wanted: f64, limit: u64) -> (Answer, String) {
    let tell = |step: &Step| {
        let p99 = Unit::Time.show(step.p99 as f64);
        let lost = match step.lost {
            0 => String::new(),
            lost => format!(", {lost} lost"),
        };
        format!("p99 {p99}{lost} at {} messages a second", rate(step.rate))
    };
    let enough = || steps.iter().filter(|step| step.rate >= wanted);
    let lowest = |a: &&&Step, b: &&&Step| a.rate.total_cmp(&b.rate);
    let good = enough().filter(|step| step.held && step.lost == 0 && step.p99 <= limit);
    if let Some(step) = good.min_by(lowest) {
        return (Answer::Yes, tell(step));
    }
    // Only a step that failed at this rate, or below it, says no. One that failed far above it says nothing.
    if let Some(step) = enough()
        .filter(|it| it.rate <= wanted * NEAR)
        .min_by(lowest)
    {
        return (Answer::No, tell(step));
    }
    // If even a lower rate failed, a higher one would fail, too.
    let below = steps
        .iter()
        .filter(|step| step.rate < wanted)
        .max_by(lowest);
    if let Some(step) = below.filter(|it| !it.held || it.lost > 0 || it.p99 > limit) {
        let says = format!(
            "the limit was passed already at a lower rate: {}",
            tell(step)
        );
        return (Answer::No, says);
    }
    let says = match enough().min_by(lowest).or(below) {
        Some(step) => tell(step),
        None => "its highest rate was not measured".to_owned(),
    };
    (Answer::Unknown, format!("{says}; {}", measure_at(wanted)))
}

/// Judges the losses and the recovery after the broker was killed; absent if no run killed it. The worst try counts.
fn after_restart(figures: &Figures) -> Option<Reason> {
    let faults = figures.faults.iter().filter(|it| it.what == "broker");
    let worst = faults.max_by_key(|it| (it.lost, it.recovered.is_none(), it.recovered))?;
    let back = match worst.recovered {
        Some(ms) => format!("messages again after {}", Unit::Time.show(ms as f64 * 1e3)),
        None => "no messages again within the time watched".to_owned(),
    };
    Some(reason(
        "a kill of the broker loses nothing",
        answer(worst.lost == 0 && worst.recovered.is_some()),
        format!(
            "{} lost ({} of them announced), {back}",
            worst.lost, worst.announced
        ),
        MEASURED,
    ))
}

#[cfg(test)]
mod tests;
