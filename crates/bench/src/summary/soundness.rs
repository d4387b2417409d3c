//! Says whether figures are sound: what was lost, and what may have spoiled the measurement.
//!
//! A doubt removes no figure; it stands beside the figures so that the reader can decide.

use std::collections::BTreeMap;

use super::{Figure, Unit, list};
use crate::{
    merge::Merged,
    results::{Figures, Round},
};

/// If the load takes more than this share of a core, it may be the limit itself and not the backend.
/// A core that is busy to the last per cent is seldom seen, as the operating system's accounting is
/// not exact.
const BUSY: f64 = 0.9;
/// If the medians of two rounds of a run differ by this factor, something disturbed the measurement.
const UNEVEN: f64 = 2.0;

/// Returns one sentence each for: what was lost, repeated, out of order or refused; where the load may have been the limit;
/// where rounds do not agree; how little few rounds can show; and what failed.
///
/// The order is that of weight: losses first, then doubts, then failures. Nothing here is hidden
/// behind an option.
pub fn soundness(merged: &Merged) -> Vec<String> {
    let (mut wrong, mut doubts, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rounds, mut delivered) = (0, 0);
    for backend in &merged.backends {
        for (scenario, figures) in &backend.scenarios {
            let place = format!("{} in {scenario}", backend.name);
            rounds += figures.rounds.len();
            delivered += sum(figures, |round| round.delivered);
            wrong.extend(losses(figures).map(|it| format!("{place}: {it}.")));
            doubts.extend(load(figures).map(|it| format!("{place}: {it}.")));
            doubts.extend(uneven(figures).map(|it| format!("{place}: {it}.")));
        }
        if let Some(failure) = &backend.failure {
            // A backend that failed in one part may still have figures of the others.
            failures.push(format!("{} failed: {failure}.", backend.name));
        }
    }
    // Say it also if nothing was lost: silence could mean that nobody looked.
    if rounds > 0 && wrong.is_empty() {
        wrong.push(format!(
            "Nothing was lost, repeated, out of order or refused at the fixed rates: {} deliveries in {rounds} rounds.",
            super::rate(delivered as f64)
        ));
    }
    doubts.extend(chance(merged));
    [wrong, doubts, failures].concat()
}

/// Adds up a count over all rounds.
/// Over all runs: a loss in one of them counts, however old.
fn sum(figures: &Figures, of: fn(&Round) -> u64) -> u64 {
    figures.rounds.iter().map(of).sum()
}

/// Counts what went wrong at the fixed rate, in deliveries; nothing if all was well.
fn losses(figures: &Figures) -> Option<String> {
    let sum = |of| sum(figures, of);
    let wrong = [
        (sum(|round| round.lost), "lost"),
        (sum(|round| round.repeated), "repeated"),
        (sum(|round| round.reordered), "out of order"),
        (sum(|round| round.refused), "refused"),
    ];
    let wrong = wrong.iter().filter(|(count, _)| *count > 0);
    let wrong: Vec<_> = wrong
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    // What should have come: what came, and what is missing.
    let due = sum(|round| round.delivered + round.lost);
    (!wrong.is_empty()).then(|| format!("{} of {due} deliveries", list(&wrong)))
}

/// Says if the load may have been the limit: it was busy, or it published so late that this explains much of p99.
fn load(figures: &Figures) -> Option<String> {
    // The busiest round decides; one is enough to spoil a p99.
    let busy = Figure::LoadCpu.spread(figures).map_or(0.0, |it| it.most);
    if busy > BUSY {
        let share = Unit::Share.show(busy);
        return Some(format!(
            "the load itself took {share} of a core, so it may have been the limit and not the backend"
        ));
    }
    // Without either figure nothing can be said: old files lack them.
    let late = Figure::Late.spread(figures)?.median;
    let tail = Figure::DeliveryP99.spread(figures)?.median;
    // Half of p99: less than that can't explain the greater part of it.
    (late > tail / 2.0).then(|| {
        let late = Unit::Time.show(late);
        format!(
            "the load itself was {late} late (p99), so p99 and above say little about the backend"
        )
    })
}

/// Says if the median latencies of one run's rounds differ too much to trust them.
fn uneven(figures: &Figures) -> Option<String> {
    let ranges = super::compare::ranges(Figure::DeliveryP50, figures);
    // Rounds of one run only: another run may have another machine.
    let mut far = ranges
        .iter()
        // A least value of 0 allows no ratio.
        .filter(|it| it.least > 0.0 && it.most >= UNEVEN * it.least);
    // One example is enough: the reader must measure again in any case.
    far.next().map(|range| {
        format!(
            "the medians of its rounds range from {} to {}: something disturbed the measurement, so measure again",
            Unit::Time.show(range.least),
            Unit::Time.show(range.most)
        )
    })
}

/// Says how often chance alone sets the ranges of two equal backends apart. With n rounds each, 2n values come in some
/// order; of all equally likely ways to divide them between the two backends, exactly two keep the ranges apart: 2 of 6
/// for two rounds, 2 of 20 for three.
fn chance(merged: &Merged) -> Option<String> {
    let figures = merged.backends.iter().flat_map(|it| it.scenarios.values());
    // The number of rounds of each run of each backend in each scenario.
    let counts = figures.flat_map(|figures| {
        let mut runs: BTreeMap<usize, usize> = BTreeMap::new();
        for round in &figures.rounds {
            *runs.entry(round.run).or_default() += 1;
        }
        runs.into_values()
    });
    // The least number decides, as it is the weakest comparison; single rounds are never compared
    // at all.
    let (rounds, of) = match counts.filter(|count| *count > 1).min()? {
        2 => ("two", "three"),
        3 => ("three", "ten"),
        // Four rounds: 2 of 70, about one in 35, which needs no warning.
        _ => return None,
    };
    Some(format!(
        "With {rounds} rounds each, chance alone sets the ranges of two equal backends apart in one comparison of {of}: trust \
         only large differences, or measure with more --rounds."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::Run, sample::run};

    /// What is said of a run, a sentence a line.
    fn said(run: Run) -> String {
        soundness(&run.into()).join("\n")
    }

    /// The rounds of a backend in the scenario `progress`.
    fn rounds(run: &mut Run, backend: usize) -> &mut Vec<Round> {
        let figures = run.backends[backend].scenarios.get_mut("progress");
        &mut figures.unwrap().rounds
    }

    #[test]
    fn losses_are_named() {
        assert!(
            said(run()).starts_with("Nothing was lost"),
            "{}",
            said(run())
        );
        let mut run = run();
        // Three rounds of 10,000 deliveries each, and the three that are missing.
        rounds(&mut run, 2)[1].lost = 3;
        let said = said(run);
        assert!(
            said.contains("kafka in progress: 3 lost of 30003 deliveries."),
            "{said}"
        );
        assert!(!said.contains("Nothing"), "{said}");
    }

    #[test]
    fn a_load_that_is_tired_or_late_is_named() {
        // Two doubts at two backends: one load was busy, the other one late.
        let mut run = run();
        rounds(&mut run, 2)[0].cost.load_cpu = Some(0.97);
        rounds(&mut run, 1)
            .iter_mut()
            .for_each(|it| it.late = 900_000);
        let said = said(run);
        assert!(
            said.contains("kafka in progress: the load itself took 97.0 % of a core"),
            "{said}"
        );
        assert!(
            said.contains("redis in progress: the load itself was 900 ms late"),
            "{said}"
        );
    }

    #[test]
    fn rounds_that_contradict_each_other_are_named() {
        // More than twice the median of the other rounds.
        let mut run = run();
        rounds(&mut run, 2)[0].delivery.p50 = 116_000;
        let said = said(run);
        assert!(
            said.contains("kafka in progress: the medians of its rounds range from "),
            "{said}"
        );
    }

    #[test]
    fn what_few_rounds_can_show_is_said() {
        assert!(said(run()).contains("one comparison of ten:"));
        // Two rounds of one backend are enough for the stronger warning.
        let mut two = run();
        rounds(&mut two, 0).pop();
        assert!(said(two).contains("one comparison of three:"));
        // A fourth round for every backend.
        let mut four = run();
        for figures in four
            .backends
            .iter_mut()
            .flat_map(|it| it.scenarios.values_mut())
        {
            figures.rounds.push(figures.rounds[0].clone());
        }
        assert!(!said(four).contains("chance alone"));
    }
}
