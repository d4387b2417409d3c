//! Draws latency by percentile: all backends together, and each one with its parts.
//!
//! The x axis is logarithmic in what is left above, so that 99 % and 99.9 % are as far apart as 90 % and 99 %.

use super::{
    canvas::Failed,
    ink::Ink,
    plot::{Axis, Format, Line, Plot},
};
use crate::{
    results::{Figures, Latency},
    summary::{pool, quantiles},
};

/// The marked percentiles: one measurement out of how many is above, and its label.
const PERCENTILES: [(f64, &str); 6] = [
    (2.0, "50 %"),
    (10.0, "90 %"),
    (100.0, "99 %"),
    (1e3, "99.9 %"),
    (1e4, "99.99 %"),
    (1e5, "99.999 %"),
];

/// Writes microseconds for an axis, without trailing zeros.
///
/// Values come from an axis, which marks only 1, 2 and 5: the division leaves no long fraction.
pub(super) fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{} ms", us / 1e3),
        us => format!("{} s", us / 1e6),
    }
}

/// Returns the delivery of all backends in one chart; nothing if no backend has a curve.
pub(crate) fn together(
    backends: &[(usize, &str, &Figures)],
    format: Format,
    name: &str,
) -> Result<Option<String>, Failed> {
    let line = |(number, backend, figures): &(usize, &str, &Figures)| {
        // All rounds pooled; percentiles of rounds can't be averaged.
        let latency = pool(figures.rounds.iter().map(|round| &round.delivery));
        let points = points(&latency);
        // Points that are no marked percentile stay unmarked, or the marks would cover the curve.
        // Compared with a tolerance, as the points are computed by powers.
        let marked = points.iter().filter(|(x, _)| {
            let near = |(percentile, _): &(f64, &str)| (x / percentile - 1.0).abs() < 1e-6;
            PERCENTILES.iter().any(near)
        });
        let marks: Vec<_> = marked.map(|point| (*point, *number, true)).collect();
        // A single point is no line.
        (points.len() > 1).then(|| Line {
            name: (*backend).to_owned(),
            ink: Ink::Line(*number),
            points: points.clone(),
            marks,
        })
    };
    let lines: Vec<_> = backends.iter().filter_map(line).collect();
    let low_and_high: Vec<f64> = heights(&lines).collect();
    plot(lines, &low_and_high, format, name)
}

/// Returns one backend's delivery, acknowledgement and broker alone. The scale is that of all backends, so that the small
/// charts can be compared with each other.
pub(crate) fn parts(
    figures: &Figures,
    all: &[(usize, &str, &Figures)],
    name: &str,
) -> Result<Option<String>, Failed> {
    // The scale comes from all backends, not from this one.
    let every: Vec<Line> = all.iter().flat_map(|(.., it)| lines(it)).collect();
    let low_and_high: Vec<f64> = heights(&every).collect();
    plot(lines(figures), &low_and_high, Format::Small, name)
}

/// Returns the lines of one backend's parts. One point alone is no line.
fn lines(figures: &Figures) -> Vec<Line> {
    let delivery = pool(figures.rounds.iter().map(|round| &round.delivery));
    let acknowledgement = pool(figures.rounds.iter().map(|round| &round.acknowledgement));
    let alone = figures.rounds.iter().filter_map(|it| it.alone.as_ref());
    let parts = [
        ("delivery", delivery),
        ("ack", acknowledgement),
        // The order is that of [`Ink::Part`].
        ("broker alone", pool(alone)),
    ];
    let lines = parts
        .iter()
        .enumerate()
        .filter_map(|(number, (part, latency))| {
            let points = points(latency);
            (points.len() > 1).then(|| Line {
                name: (*part).to_owned(),
                ink: Ink::Part(number),
                points,
                marks: Vec::new(),
            })
        });
    lines.collect()
}

/// Returns all latencies of the lines, from which the scale is made.
fn heights(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y)
}

/// Returns a curve's points. 0 µs has no place on a logarithmic scale.
fn points(latency: &Latency) -> Vec<(f64, f64)> {
    let curve = quantiles(latency).into_iter();
    curve
        .map(|(out_of, value)| (out_of, value as f64))
        .filter(|(_, value)| *value > 0.0)
        .collect()
}

/// Draws the lines with an axis of percentiles; nothing if there are no lines.
///
/// `low_and_high` may hold values of other charts, where these must have the same scale.
fn plot(
    lines: Vec<Line>,
    low_and_high: &[f64],
    format: Format,
    name: &str,
) -> Result<Option<String>, Failed> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(high) = points().map(|(x, _)| *x).max_by(f64::total_cmp) else {
        return Ok(None);
    };
    // A little more than the end: the last tick must survive the rounding of its value.
    let ticks = PERCENTILES.iter().filter(|(x, _)| *x <= high * 1.01);
    let x = Axis {
        // 1.25 means that 1 of 1.25 is above, which is p20, where the curves begin.
        low: 1.25,
        // An axis needs two different ends even if there are very few measurements.
        high: high.max(2.5),
        ticks: ticks.map(|(x, label)| (*x, (*label).to_owned())).collect(),
        title: "share of the deliveries".to_owned(),
    };
    let y = Axis::around(low_and_high.iter().copied(), "latency, logarithmic", time);
    let plot = Plot {
        x,
        y,
        limit: None,
        lines,
    };
    plot.svg(format, name).map(Some)
}
