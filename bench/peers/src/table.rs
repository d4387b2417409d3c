//! The figures as tables in Markdown.

use std::fmt::Write as _;

use hubplane_bench::scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::measure::Measured;

/// The head of the table that [`knee`] fills.
pub(crate) const LADDER: &str = "| server | highest messages/s that held | deliveries/s | p99 ms | the next step failed by |\n|---|---|---|---|---|";

/// One row a server: medians, with the smallest and the largest.
pub(crate) fn rounds<'a>(
    scenario: &Scenario,
    rate: f64,
    rows: impl Iterator<Item = (&'a str, &'a Vec<Measured>)>,
) -> String {
    let mut table = format!(
        "**{}**: {}, {rate} messages a second of {} bytes\n\n\
         | server | deliveries/s | p50 ms | p99 ms | lost | CPU-µs a delivery, servers + broker | of these the broker | \
         PSS of the servers, MB | load: core, late p99 ms |\n|---|---|---|---|---|---|---|---|---|\n",
        scenario.name, scenario.what, scenario.payload
    );
    // Losses are added up: one in any round must be seen.
    for (name, rounds) in rows {
        let of = |figure: fn(&Measured) -> f64, digits| spread(rounds.iter().map(figure), digits);
        let sum = |figure: fn(&Measured) -> u64| rounds.iter().map(figure).sum::<u64>();
        let mut lost = sum(|it| it.lost).to_string();
        for (what, count) in [
            ("repeated", sum(|it| it.repeated)),
            ("refused", sum(|it| it.refused)),
            ("sockets closed", sum(|it| it.closed)),
        ] {
            if count > 0 {
                _ = write!(lost, ", {count} {what}");
            }
        }
        _ = writeln!(
            table,
            "| {name} | {} | {} | {} | {lost} | {} | {} | {} | {}, {} |",
            of(|it| it.deliveries, 0),
            of(|it| it.p50 as f64 / 1e3, 2),
            of(|it| it.p99 as f64 / 1e3, 1),
            of(|it| it.servers + it.broker, 1),
            of(|it| it.broker, 1),
            of(|it| it.memory as f64 / 1e6, 1),
            of(|it| it.load, 2),
            of(|it| it.late as f64 / 1e3, 1),
        );
    }
    table
}

/// One figure of a measurement that is no scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The same in all rounds, as columns are put together by position.
    name: String,
    value: f64,
    /// Digits behind the point.
    digits: usize,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, digits: usize) -> Self {
        Self {
            name: name.into(),
            value,
            digits,
        }
    }
}

/// All rounds of one measurement on one server.
pub(crate) type Rounds = Vec<Vec<Figure>>;

/// One column a server.
pub(crate) fn head(servers: &[String]) -> String {
    let lines = "---|".repeat(servers.len() + 1);
    format!("| | {} |\n|{lines}", servers.join(" | "))
}

/// One row a figure.
/// Servers without a round show "none". All rounds must have the same figures in the same order.
pub(crate) fn figures(what: &str, columns: &[Rounds]) -> String {
    let first = columns.iter().find_map(|rounds| rounds.first());
    let mut table = format!("| **{what}** |{}\n", " |".repeat(columns.len()));
    for (row, figure) in first.into_iter().flatten().enumerate() {
        _ = write!(table, "| {} |", figure.name);
        for rounds in columns {
            let all = rounds.iter().map(|round| round[row].value);
            _ = write!(table, " {} |", spread(all, figure.digits));
        }
        table.push('\n');
    }
    table
}

/// Median (smallest–largest).
///
/// "none" without any, and one value alone without a range.
fn spread(figures: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match &figures[..] {
        [] => "none".to_owned(),
        [one] => format!("{one:.digits$}"),
        [first, .., last] => {
            // The same place twice for an odd number.
            let half = figures.len() / 2;
            let middle = (figures[half] + figures[(figures.len() - 1) / 2]) / 2.0;
            format!("{middle:.digits$} ({first:.digits$}–{last:.digits$})")
        }
    }
}

/// One row of the ladder's table: what held, and why the next step failed.
pub(crate) fn knee(
    name: &str,
    held: Option<&(f64, Measured)>,
    failed: Option<&(f64, Measured)>,
) -> String {
    let (rate, deliveries, p99) = match held {
        Some((rate, it)) => (*rate, it.deliveries, it.p99 as f64 / 1e3),
        None => (0.0, 0.0, 0.0),
    };
    let why = match failed {
        None => "no step failed".to_owned(),
        Some((rate, it)) => format!(
            "at {rate:.0}: p99 {:.1} ms, {} lost, {} refused, {} sockets closed, load {:.2} of its core",
            it.p99 as f64 / 1e3,
            it.lost,
            it.refused,
            it.closed,
            it.load
        ),
    };
    format!("| {name} | {rate:.0} | {deliveries:.0} | {p99:.1} | {why} |")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_of_each_server_and_none_where_nothing_was_measured() {
        let round = |value| vec![Figure::new("p50 ms", value, 1)];
        let columns = [vec![round(3.0), round(1.0), round(2.0)], Vec::new()];
        assert_eq!(
            figures("across", &columns),
            "| **across** | | |\n| p50 ms | 2.0 (1.0–3.0) | none |\n"
        );
    }
}
