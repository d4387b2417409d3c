//! Compares a figure of two backends and says only what holds in every run that measured both.
//!
//! A run has its own machine, day and version, so values of different runs are never compared with each other. Nothing is
//! tested for significance: ranges that overlap are not told apart.

use std::collections::BTreeMap;

use super::{Figure, figure::digits};
use crate::results::Figures;

/// The smallest and the largest value of a figure within one run, in the figure's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The run.
    pub run: usize,
    /// The smallest.
    pub least: f64,
    /// The largest; infinite where the search ended before it was found.
    pub most: f64,
    /// False if the run has only one round, which does not show how far rounds differ.
    pub wide: bool,
}

/// What may be said of a figure of two backends.
///
/// “First” and “second” are the order of the arguments of [`compare`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The first one's is smaller: the second's is `least` to `most` times it.
    Smaller {
        /// At least so many times.
        least: f64,
        /// At most.
        most: f64,
    },
    /// The first one's is larger: `least` to `most` times the second's.
    Larger {
        /// At least so many times.
        least: f64,
        /// At most.
        most: f64,
    },
    /// The ranges overlap, or the runs contradict each other.
    Same,
    /// Measured, but not so that anything may be said; why.
    Unknown(&'static str),
}

/// Returns the range of a figure in each run, ordered by run. A run without a value of this figure is left out.
pub(super) fn ranges(figure: Figure, figures: &Figures) -> Vec<Range> {
    let mut runs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    // Each run has its own rounds, which are compared only with those of the same run.
    for round in &figures.rounds {
        if let Some(value) = figure.of(round) {
            runs.entry(round.run).or_default().push(value);
        }
    }
    let range = |(run, values): (usize, Vec<f64>)| Range {
        run,
        least: values.iter().copied().fold(f64::INFINITY, f64::min),
        most: values.iter().copied().fold(0.0, f64::max),
        wide: values.len() > 1,
    };
    runs.into_iter().map(range).collect()
}

/// Compares two backends by their ranges, run by run, and joins the verdicts of all common runs.
///
/// Both slices must be ordered by run: each run at most once.
pub fn compare(one: &[Range], two: &[Range]) -> Verdict {
    let mut verdict: Option<Verdict> = None;
    let mut unknown = "were never measured in one run";
    // Only runs that measured both count; the others say nothing of the difference.
    for a in one {
        let Some(b) = two.iter().find(|b| b.run == a.run) else {
            continue;
        };
        // A single value looks like a range of no width, which overlaps with nothing.
        if !a.wide || !b.wide {
            unknown = "were measured in one round only, which does not show how far rounds differ";
            continue;
        }
        let here = apart(*a, *b);
        verdict = Some(match (verdict, here) {
            (None, here) => here,
            (Some(before), here) => join(before, here),
        });
    }
    verdict.unwrap_or(Verdict::Unknown(unknown))
}

/// Compares two ranges of one run. The least ratio is that of the nearest ends, the largest that of the furthest ends. A
/// largest value of 0 allows no ratio, and so no statement.
fn apart(a: Range, b: Range) -> Verdict {
    // Ends that touch are not apart.
    if a.most < b.least && a.most > 0.0 {
        Verdict::Smaller {
            least: b.least / a.most,
            most: b.most / a.least,
        }
    } else if b.most < a.least && b.most > 0.0 {
        Verdict::Larger {
            least: a.least / b.most,
            most: a.most / b.least,
        }
    } else {
        Verdict::Same
    }
}

/// Joins the verdicts of two runs: the ratios widen; runs that contradict each other leave nothing to say.
fn join(before: Verdict, here: Verdict) -> Verdict {
    // Two verdicts of one direction are joined; anything else is no statement that holds in all
    // runs.
    use Verdict::{Larger, Smaller};
    match (before, here) {
        (Smaller { least, most }, Smaller { least: l, most: m }) => Smaller {
            // The weakest ratio of all runs is what may be said at least.
            least: least.min(l),
            most: most.max(m),
        },
        (Larger { least, most }, Larger { least: l, most: m }) => Larger {
            least: least.min(l),
            most: most.max(m),
        },
        _ => Verdict::Same,
    }
}

/// Writes a ratio as a range, such as `1.4–1.8 times`. Ratios are rounded down, so that no difference is overstated.
pub(super) fn times(least: f64, most: f64) -> String {
    let show = |ratio: f64| match ratio {
        // From ten on without decimals: a range of rounds is never so exact.
        ratio if ratio >= 9.95 => digits(ratio.round()).replace(".0", ""),
        // What is apart is never called equal.
        ratio if ratio < 1.1 => format!("{:.2}", (ratio * 100.0).floor() / 100.0),
        ratio => format!("{:.1}", (ratio * 10.0).floor() / 10.0),
    };
    let (low, high) = (show(least), show(most));
    // The order matters: what rounds to 1.00 must not be written as "1.00 times".
    match least {
        _ if high == "1.00" => "a little over 1 times".to_owned(),
        _ if low == "1.00" => format!("up to {high} times"),
        _ if !most.is_finite() => format!("at least {low} times"),
        _ if low == high => format!("{low} times"),
        _ => format!("{low}–{high} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(run: usize, least: f64, most: f64) -> Range {
        Range {
            run,
            least,
            most,
            wide: true,
        }
    }

    #[test]
    fn what_overlaps_is_not_told_apart() {
        let a = [range(0, 10.0, 12.0)];
        // Ends that touch (12 and 12) overlap.
        assert_eq!(compare(&a, &[range(0, 12.0, 15.0)]), Verdict::Same);
        let verdict = compare(&a, &[range(0, 18.0, 20.0)]);
        assert_eq!(
            verdict,
            Verdict::Smaller {
                least: 1.5,
                most: 2.0
            }
        );
        let verdict = compare(&[range(0, 18.0, 20.0)], &a);
        assert!(matches!(verdict, Verdict::Larger { least: 1.5, .. }));
    }

    #[test]
    fn only_what_holds_in_every_common_run_is_said() {
        // The second backend is slower in both runs, by different ratios: the widest range is said.
        let a = [range(0, 10.0, 12.0), range(1, 100.0, 120.0)];
        let b = [range(0, 24.0, 30.0), range(1, 180.0, 200.0)];
        assert_eq!(
            compare(&a, &b),
            Verdict::Smaller {
                least: 1.5,
                most: 3.0
            }
        );
        // Faster in run 0 and slower in run 1.
        let contrary = [range(0, 24.0, 30.0), range(1, 18.0, 20.0)];
        assert_eq!(compare(&a, &contrary), Verdict::Same);
        // Faster by far, but on another machine.
        assert!(matches!(
            compare(&a[..1], &[range(1, 1.0, 2.0)]),
            Verdict::Unknown(_)
        ));
        let once = Range {
            wide: false,
            ..range(0, 99.0, 99.0)
        };
        assert!(matches!(compare(&a, &[once]), Verdict::Unknown(why) if why.contains("one round")));
    }

    #[test]
    fn times_are_written_as_a_range() {
        assert_eq!(times(1.42, 1.81), "1.4–1.8 times");
        // Rounded down: 1.81 is never 1.9.
        assert_eq!(times(2.01, 2.04), "2.0 times");
        assert_eq!(times(12.4, 2_300.0), "12–2,300 times");
        // Below 1.1 a second decimal shows that the two are not equal.
        assert_eq!(times(1.02, 1.05), "1.02–1.05 times");
        assert_eq!(times(1.001, 2.14), "up to 2.1 times");
        assert_eq!(times(1.001, 1.004), "a little over 1 times");
        assert_eq!(times(3.3, f64::INFINITY), "at least 3.3 times");
    }
}
