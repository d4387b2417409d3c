//! Which backends do what somebody needs, by what they declare and by what was measured. Each need is answered by itself,
//! with its reason; nothing is weighed against anything else.

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

/// What somebody needs.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Clients that come back get what they missed.
    pub replay: bool,
    /// What was acknowledged before a restart of the broker is delivered after it.
    pub restart: bool,
    /// All clients see one order of a channel's messages.
    pub one_order: bool,
    /// A message arrives, if need be twice.
    pub at_least_once: bool,
    /// One hub process is enough.
    pub one_process: bool,
    /// The largest message, in bytes.
    pub payload: Option<u64>,
    /// The 99th percentile of the delivery at most.
    pub p99: Option<Duration>,
    /// Messages a second at least.
    pub rate: Option<f64>,
    /// The brokers that are there; empty where any may be set up.
    pub have: Vec<String>,
}

/// A backend in question.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its name in the figures, or its scheme.
    pub name: String,
    /// The broker that it needs.
    pub broker: String,
    /// The capability table's row: the column's name and what it says; empty if it is not known.
    pub promises: Vec<(String, String)>,
    /// What it did in the scenario.
    pub figures: Option<&'a Figures>,
}

/// Whether a need is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is.
    Yes,
    /// Nothing that is known says so or not.
    Unknown,
    /// It is not.
    No,
}

/// One need's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What was needed.
    pub need: String,
    /// Whether it is met.
    pub answer: Answer,
    /// Why: what is declared, or the figure.
    pub says: String,
    /// Where that is from.
    pub from: &'static str,
}

/// One backend's answers.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The backend.
    pub name: String,
    /// The worst of all answers.
    pub answer: Answer,
    /// Each need's.
    pub reasons: Vec<Reason>,
    /// The hubs' CPU time, microseconds a delivery, the median of the rounds.
    pub hub_cpu: Option<f64>,
    /// The broker's; 0 where there is none.
    pub broker_cpu: Option<f64>,
}

/// A step whose rate is at most this many times the wanted rate counts as measured at that rate.
const NEAR: f64 = 1.05;

const DECLARED: &str = "declared";
const MEASURED: &str = "measured";
const GIVEN: &str = "your choice";

/// Judges all candidates: those that satisfy first, by their CPU time a delivery.
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

/// Whether the broker's part is known of all that satisfy and were measured; if not, only the hubs' is compared.
pub fn has_whole_cost(judged: &[Judged]) -> bool {
    let satisfy = judged.iter().filter(|it| it.answer == Answer::Yes);
    let mut measured = satisfy.filter(|it| it.hub_cpu.is_some());
    measured.all(|it| it.broker_cpu.is_some())
}

impl Judged {
    /// CPU time a delivery, with the broker's or without.
    fn cpu(&self, whole: bool) -> Option<f64> {
        match whole {
            true => Some(self.hub_cpu? + self.broker_cpu?),
            false => self.hub_cpu,
        }
    }
}

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

    /// Answers a need by what the backend declares in this column.
    fn by(&self, need: &str, column: &str, met: impl Fn(&str) -> bool) -> Reason {
        match promise(&self.candidate.promises, column) {
            Some(says) => reason(need, answer(met(says)), plain(column, says), DECLARED),
            None => {
                let says = "this build does not have this backend, so it can't tell".to_owned();
                reason(need, Answer::Unknown, says, DECLARED)
            }
        }
    }

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

    /// What p99 may be: as wanted, or the scenario's own limit.
    fn limit(&self) -> Duration {
        self.needs.p99.unwrap_or(self.scenario.limit())
    }

    /// At the scenario's rate; the worst round counts.
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

    /// At a step of the ladder of at least this rate, in each run that has one.
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

/// What one run's ladder says of a rate.
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

/// What came of killing the broker, where that was tried.
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
