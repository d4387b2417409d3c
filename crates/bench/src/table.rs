//! Writes the figures of a run as tables and sentences for a terminal.
//!
//! The HTML report uses the same rows, so that both show the same figures. This file computes no figure itself: medians,
//! ranges and sentences come from `summary`.

use super::{
    merge::Merged,
    results::Figures,
    scenario::Scenario,
    summary::{Figure, findings, knee, soundness},
};

/// Returns one line per row, with the cells of each column below each other; the first row is the head. Rows may have
/// different lengths.
///
/// Widths are counted in characters and not in bytes: µ and – are of two and three bytes.
pub fn align<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths);
        let cells: Vec<_> = cells
            // `zip` ends with the row, so a shorter row has fewer cells.
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        // No blanks at the end of a line, which would break a comparison of outputs.
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns all that the bench prints at its end: a table for each scenario with one column per backend, what the figures
/// say, the faults, and what may have spoiled the figures.
///
/// The text has no line end at its end; the caller prints it.
pub fn text(merged: &Merged) -> String {
    let mut lines = Vec::new();
    for scenario in &merged.scenarios {
        let rows = rows(merged, scenario);
        // Only the head: nothing was measured in this scenario.
        if rows.len() < 2 {
            continue;
        }
        lines.push(format!("{}: {}", scenario.name, work(scenario)));
        lines.push(String::new());
        lines.extend(align(&rows));
        lines.push(String::new());
        lines.extend(
            findings(merged, scenario)
                .iter()
                .map(|it| format!("- {it}")),
        );
        lines.push(String::new());
    }
    let faults = faults(merged);
    // One row alone is the head.
    if faults.len() > 1 {
        lines.extend(align(&faults));
        lines.push(String::new());
    }
    // Doubts come last, where a terminal shows them without scrolling.
    lines.extend(soundness(merged));
    lines.extend(merged.warnings());
    lines.push(
        "Each figure is the median of the rounds; in brackets the smallest and the largest."
            .to_owned(),
    );
    lines.join("\n")
}

/// Describes the work of a scenario in one line: its purpose, rate, message size and subscribers.
pub fn work(scenario: &Scenario) -> String {
    format!(
        "{}; {} messages a second of {} bytes, each to {} subscribers",
        scenario.what,
        super::summary::rate(scenario.rate),
        scenario.payload,
        super::summary::rate(f64::from(scenario.subscribers()))
    )
}

/// Returns the figures of a scenario: the head, then one row for each figure that at least one backend has. “–” marks what
/// was not measured; that is different from 0.
///
/// All rows have one cell for each backend that was measured in this scenario.
pub fn rows(merged: &Merged, scenario: &Scenario) -> Vec<Vec<String>> {
    let measured: Vec<(&str, &Figures)> = merged
        .backends
        .iter()
        .filter_map(|it| Some((&*it.name, it.scenarios.get(&scenario.name)?)))
        .collect();
    // The first cell of the head is empty: it stands above the names of the figures.
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(measured.iter().map(|(name, _)| (*name).to_owned()));
    let mut row = |label: &str, cell: &dyn Fn(&Figures) -> Option<String>| {
        let cells: Vec<_> = measured.iter().map(|(_, it)| cell(it)).collect();
        // A row that nobody has would only be noise.
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or("–".to_owned()));
            rows.push([label.to_owned()].into_iter().chain(cells).collect());
        }
    };
    for figure in Figure::TABLE {
        row(figure.label(), &|it| {
            Some(figure.unit().show_spread(figure.spread(it)?))
        });
    }
    row("highest rate", &knee);
    row("rounds", &|it| Some(it.rounds.len().to_string()));
    // Losses are added up and not averaged: a single loss in any round must stay visible.
    let sum = |of: fn(&super::results::Round) -> u64| {
        move |it: &Figures| {
            let sum: u64 = it.rounds.iter().map(of).sum();
            // No rounds means "not known", not "nothing lost".
            (!it.rounds.is_empty()).then(|| sum.to_string())
        }
    };
    row("lost", &sum(|round| round.lost));
    row("repeated", &sum(|round| round.repeated));
    row("out of order", &sum(|round| round.reordered));
    row("refused", &sum(|round| round.refused));
    rows
}

/// Returns what was broken on purpose: the head, then one row for each fault of each backend.
pub fn faults(merged: &Merged) -> Vec<Vec<String>> {
    let head = [
        "backend",
        "scenario",
        "killed",
        "messages again after",
        "lost",
        "of these announced",
        "refused",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for backend in &merged.backends {
        for (scenario, figures) in &backend.scenarios {
            rows.extend(figures.faults.iter().map(|fault| {
                // Milliseconds to microseconds, the unit of [`super::summary::Unit::Time`].
                let recovered = fault.recovered.map(|ms| ms as f64 * 1000.0);
                vec![
                    backend.name.clone(),
                    scenario.clone(),
                    fault.what.clone(),
                    recovered.map_or("not within the time watched".to_owned(), |it| {
                        super::summary::Unit::Time.show(it)
                    }),
                    fault.lost.to_string(),
                    fault.announced.to_string(),
                    fault.refused.to_string(),
                ]
            }));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::run;

    #[test]
    fn columns_stand_below_each_other() {
        // µ is two bytes and one column.
        let rows = [["a", "bb", "c"], ["µµµ", "b", "cc"]].map(|row| row.map(str::to_owned));
        assert_eq!(align(&rows), ["a    bb  c", "µµµ  b   cc"]);
    }

    #[test]
    fn each_scenario_has_its_table_and_its_sentences() {
        let text = text(&run().into());
        for part in [
            "progress: 500 jobs",
            "delivery p50",
            "highest rate",
            "lost",
            "- Median latency (p50): kafka takes ",
            "messages again after",
            "Nothing was lost",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // The embedded backend has no broker.
        let line = text.lines().find(|line| line.starts_with("broker CPU"));
        // A dash for the backend that has none, and values for the others.
        assert!(line.unwrap().contains("per delivery  –  "), "{line:?}");
    }

    #[test]
    fn a_scenario_without_figures_is_left_out() {
        let mut run = run();
        run.backends.iter_mut().for_each(|it| it.scenarios.clear());
        let text = text(&run.into());
        assert!(!text.contains("progress"), "{text}");
    }
}
