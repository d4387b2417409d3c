//! Draws the search for the highest rate: p99 over the rate, step by step, with the limit as a line.

use std::collections::BTreeSet;

use super::{
    canvas::Failed,
    ink::Ink,
    latency::time,
    plot::{Axis, Format, Line, Plot},
};
use crate::{
    results::{Figures, Step},
    summary::rate,
};

/// Returns the chart of all ladders as SVG; nothing if there are none. `limit_ms` is the scenario's highest p99.
///
/// `backends` holds each backend's number, name and figures; the number chooses colour and mark.
pub(crate) fn knees(
    backends: &[(usize, &str, &Figures)],
    limit_ms: u64,
    format: Format,
    name: &str,
) -> Result<Option<String>, Failed> {
    let lines: Vec<Line> = backends
        .iter()
        .flat_map(|(number, backend, figures)| ladders(*number, backend, figures))
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    // Milliseconds to microseconds, which all latencies have.
    let limit = limit_ms as f64 * 1e3;
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Axis::around(points().map(|(x, _)| *x), "messages a second, log", rate);
    // The limit belongs to the scale, so that its line is seen even if every step is far below it.
    let ys = points().map(|(_, y)| *y).chain([limit]);
    let y = Axis::around(ys, "p99 of the delivery, logarithmic", time);
    let plot = Plot {
        x,
        y,
        limit: Some((limit, format!("limit {limit_ms} ms"))),
        lines,
    };
    plot.svg(format, name).map(Some)
}

/// Returns one backend's ladders, one line for each run. A step without a delivery has no latency and is left out.
fn ladders(number: usize, backend: &str, figures: &Figures) -> Vec<Line> {
    let runs: BTreeSet<usize> = figures.ladder.iter().map(|step| step.run).collect();
    // A latency of 0 has no place on a logarithmic scale.
    let one = |run: usize| {
        let shown = |step: &&Step| step.run == run && step.p99 > 0;
        let mut steps: Vec<&Step> = figures.ladder.iter().filter(shown).collect();
        // In the order of the rates and not of the search, which jumps back and forth.
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let point = |step: &Step| (step.rate, step.p99 as f64);
        (!steps.is_empty()).then(|| Line {
            name: match runs.len() {
                1 => backend.to_owned(),
                _ => format!("{backend}, run {}", run + 1),
            },
            ink: Ink::Line(number),
            points: steps.iter().map(|step| point(step)).collect(),
            marks: steps
                .iter()
                // A step that failed is marked by a cross.
                .map(|step| (point(step), number, step.held))
                .collect(),
        })
    };
    runs.iter().filter_map(|run| one(*run)).collect()
}
