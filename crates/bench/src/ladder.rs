//! The knee: the highest rate at which nothing is lost and p99 stays within the scenario's limit.
//!
//! A limit on latency and not the highest throughput: beyond the knee a hub still delivers more, but late, and nobody would
//! run it there.

use std::io;

use super::{
    load::Load,
    plan::Lengths,
    results::{Figures, Round, Step},
    scenario::Scenario,
    site::Site,
    summary::{Unit, rate as per_second},
};

/// The factor from one step's rate to the next one's, until a step fails.
const FACTOR: f64 = 4.0;
/// How often the stretch between the last step that held and the first that did not is halved; what is left is 9 %.
const HALVINGS: usize = 4;

/// Quadruples the rate until a step fails, then halves the last stretch. Returns the result in words. `run` is the run's
/// own name: it keeps this run's channels apart from those of earlier runs.
///
/// # Errors
///
/// A socket that does not connect, or a hub whose costs can't be read. A step that fails is no
/// error: it is the result.
pub(super) fn climb(
    site: &mut Site,
    scenario: &Scenario,
    (run, lengths): (&str, Lengths),
    figures: &mut Figures,
) -> io::Result<String> {
    // One load for the whole ladder: connecting thousands of sockets takes longer than a step. The
    // suffix keeps its channels apart from the rounds' channels.
    let mut load = Load::connect(scenario, &site.target, &format!("{run}.l"))?;
    let lengths = (lengths.step_warm_up, lengths.step);
    let (mut rate, mut held, mut failed) = (scenario.ladder.from, None, None);
    let mut halvings = 0;
    loop {
        let round = site.measure(&mut load, rate, lengths)?;
        // Sockets that broke are counted before the next step connects them again.
        let step = step(&round, scenario, load.broken());
        figures.ladder.push(step);
        // What one step has left unfinished must not burden the next one.
        site.rest();
        match step.held {
            true => held = Some(rate),
            false => failed = Some(rate),
        }
        // Not yet failed: multiply. Failed once: halve the stretch. Failed at the first rate, or
        // held at the highest: nothing is left to try.
        rate = match (held, failed) {
            (Some(held), None) if held < scenario.ladder.to => {
                (held * FACTOR).min(scenario.ladder.to)
            }
            (Some(held), Some(failed)) if halvings < HALVINGS => {
                halvings += 1;
                // The geometric mean halves the ratio of the two rates, which is what the error is measured by.
                (held * failed).sqrt()
            }
            _ => break,
        };
    }
    // Steps are kept by rate and not by time, which is how a table and a chart show them.
    figures.ladder.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    figures.knee = held;
    // `rfind`, since the last step that was tried need not be the highest that held.
    let top = figures.ladder.iter().rfind(|step| step.held);
    Ok(match top {
        Some(step) => format!(
            "{} messages a second ({} deliveries) with p99 {}",
            per_second(step.rate),
            per_second(step.deliveries),
            Unit::Time.show(step.p99 as f64)
        ),
        None => format!(
            "not even {} messages a second",
            per_second(scenario.ladder.from)
        ),
    })
}

/// Judges one step. It holds if nothing was lost, refused or repeated, no socket broke, and p99 is within the limit.
///
/// A step without any delivery does not hold either: its p99 of 0 would be within each limit.
fn step(round: &Round, scenario: &Scenario, broken: usize) -> Step {
    let limit = scenario.limit().as_micros() as u64;
    let whole = round.lost == 0 && round.refused == 0 && round.repeated == 0 && broken == 0;
    Step {
        run: 0,
        rate: round.rate,
        deliveries: round.delivered as f64 / round.seconds,
        p50: round.delivery.p50,
        p99: round.delivery.p99,
        lost: round.lost,
        held: whole && round.delivered > 0 && round.delivery.p99 <= limit,
    }
}
