//! Finds the highest rate of a backend in its ladders: it lies between the highest step that held and the next step, which
//! failed.
//!
//! The exact rate is not known; what is shown is always these two steps. Rates are published messages a second.

use std::collections::BTreeSet;

use super::{Range, figure::rate};
use crate::results::Figures;

/// What one ladder found.
///
/// The true highest rate is at least `held` and below `failed`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The run.
    pub run: usize,
    /// The highest rate that held; absent if none did.
    pub held: Option<f64>,
    /// The lowest rate above it that failed; absent if the ladder ended before a step failed.
    pub failed: Option<f64>,
}

/// Returns one knee for each run that has a ladder, ordered by run.
pub fn knees(figures: &Figures) -> Vec<Knee> {
    let runs: BTreeSet<usize> = figures.ladder.iter().map(|step| step.run).collect();
    let of_run = |run| {
        let steps = figures.ladder.iter().filter(move |step| step.run == run);
        let rates = |held| {
            steps
                .clone()
                .filter(move |it| it.held == held)
                .map(|it| it.rate)
        };
        let held = rates(true).max_by(f64::total_cmp);
        // A step below the highest one that held may have failed by chance; it does not bound the rate.
        let above = rates(false).filter(|rate| held.is_none_or(|held| *rate > held));
        Knee {
            run,
            held,
            failed: above.min_by(f64::total_cmp),
        }
    };
    runs.into_iter().map(of_run).collect()
}

/// Returns the highest rate of all runs in words; absent if no run searched for it.
///
/// Several runs that found the same are written once.
pub fn knee(figures: &Figures) -> Option<String> {
    let knees = knees(figures);
    if knees.is_empty() {
        // A run that kept only its knee (an older file) still has a rate.
        return figures.knee.map(|knee| format!("{}/s", rate(knee)));
    }
    let texts: BTreeSet<String> = knees.iter().map(Knee::text).collect();
    Some(texts.into_iter().collect::<Vec<_>>().join("; "))
}

/// Deliveries a second at the highest step that held; of several runs the least, because that held in all of them. Zero
/// if no step of a run held; absent if there was no ladder.
pub fn most_deliveries(figures: &Figures) -> Option<f64> {
    let at = |knee: &Knee| {
        let mut steps = figures.ladder.iter();
        // Compared as floating point, which is safe: `held` is a copy of a step's rate.
        let step = steps.find(|step| step.run == knee.run && Some(step.rate) == knee.held);
        // No step held, so no delivery is promised.
        step.map_or(0.0, |step| step.deliveries)
    };
    knees(figures).iter().map(at).min_by(f64::total_cmp)
}

impl Knee {
    /// Writes it in words, such as `16,000/s (failed at 18,000)`.
    pub fn text(&self) -> String {
        match (self.held, self.failed) {
            (Some(held), Some(failed)) => {
                format!("{}/s (failed at {})", rate(held), rate(failed))
            }
            (Some(held), None) => format!("{}/s or more", rate(held)),
            (None, Some(failed)) => format!("below {}/s", rate(failed)),
            (None, None) => "not found".to_owned(),
        }
    }

    /// Returns the range in which the highest rate lies. It counts as a range although each run searches only once, since its
    /// two ends are known.
    pub(super) fn range(&self) -> Range {
        Range {
            run: self.run,
            // Nothing held: it may be any rate down to 0. Nothing failed: it may be any rate
            // upwards.
            least: self.held.unwrap_or(0.0),
            most: self.failed.unwrap_or(f64::INFINITY),
            wide: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Step;

    fn ladder(steps: &[(usize, f64, bool)]) -> Figures {
        Figures {
            ladder: steps
                .iter()
                .map(|&(run, rate, held)| Step {
                    run,
                    rate,
                    held,
                    ..Step::default()
                })
                .collect(),
            ..Figures::default()
        }
    }

    #[test]
    fn a_knee_lies_between_two_steps() {
        // Three runs: one that found both ends, one that never failed, one that never held. The
        // steps of the first are not in order.
        let figures = ladder(&[
            (0, 500.0, true),
            (0, 2_000.0, false),
            (0, 1_000.0, true),
            (1, 500.0, true),
            (2, 500.0, false),
        ]);
        let texts: Vec<_> = knees(&figures).iter().map(Knee::text).collect();
        assert_eq!(
            texts,
            ["1,000/s (failed at 2,000)", "500/s or more", "below 500/s"]
        );
        assert_eq!(knee(&Figures::default()), None);
        // Steps are gone, the knee is kept.
        let alone = Figures {
            knee: Some(70.0),
            ..Figures::default()
        };
        assert_eq!(knee(&alone).as_deref(), Some("70/s"));
    }

    #[test]
    fn the_most_deliveries_are_those_that_held_in_every_run() {
        let mut figures = ladder(&[(0, 500.0, true), (0, 1_000.0, false), (1, 800.0, true)]);
        for step in &mut figures.ladder {
            step.deliveries = 2.0 * step.rate;
        }
        // Run 0 held at 500 and run 1 at 800: the lower one is what held in both.
        assert_eq!(most_deliveries(&figures), Some(1_000.0));
        assert_eq!(most_deliveries(&ladder(&[(0, 500.0, false)])), Some(0.0));
        assert_eq!(most_deliveries(&Figures::default()), None);
    }
}
