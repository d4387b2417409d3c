//! Chooses the scorecard's figures: what a reader wants to know first of each backend, in one scenario.
//!
//! How the card is drawn is in `chart/scorecard.rs`.

use super::{
    chart::{Failed, Format, Row, Scorecard},
    figure::figure,
    html::Html,
};
use crate::{
    merge::Merged,
    results::{Figures, Measured},
    scenario::Scenario,
    summary::{Figure, Spread, Unit, knees, most_deliveries, rate},
};

/// Stands above backends of one process: they do less work than a broker, so they are not ranked with the others.
const APART: &str = "One process only, never several hubs";

/// Returns the picture, how to read it, and the same figures as a table, as HTML. Empty if nothing was measured.
///
/// # Errors
///
/// A chart can't be drawn.
pub(super) fn scorecard(merged: &Merged, scenario: &Scenario) -> Result<String, Failed> {
    let numbered = merged.backends.iter().enumerate();
    let rows = numbered.filter_map(|(number, it)| {
        let figures = it.scenarios.get(&scenario.name)?;
        Some(row(number, it, figures))
    });
    let card = Scorecard {
        heads: [
            // The order must be that of `row` and of `read_out`.
            ("p50 latency", "p50", "less is better"),
            ("p99 latency", "p99", "less is better"),
            ("Most deliveries", "most", "more is better"),
            ("CPU per delivery", "CPU", "less is better"),
        ],
        promise: ("Broker restarts", "accepted messages"),
        rows: rows.collect(),
        apart: APART,
    };
    if card.rows.is_empty() {
        return Ok(String::new());
    }
    let table = table(&card);
    let name = read_out(&scenario.name, &card.rows);
    // Both forms are on the page; the style sheet shows one.
    let charts = [
        card.svg(Format::Wide, &name)?,
        card.svg(Format::Narrow, &name)?,
    ];
    let mut html = Html::new();
    let title = format!("{}: the scorecard", scenario.name);
    figure(&mut html, &charts, &caption(scenario), &title, &table);
    Ok(html.done())
}

/// Explains each column in words that need no other page.
fn caption(scenario: &Scenario) -> String {
    format!(
        "Latency at {} messages a second: half of the deliveries (p50), or 99 of 100 (p99), took at most this long. Most \
         deliveries: how many a second with nothing lost and p99 at most {} ms; here alone more is better. CPU: of hubs and \
         broker together, for each delivery. “≥” means that the true figure may be higher. When its broker restarts, a \
         backend delivers all messages that the broker had accepted, or tells the clients of losses.",
        rate(scenario.rate),
        scenario.ladder.p99_ms
    )
}

/// Collects one backend's figures. `number` chooses its colour and mark, the same in all charts.
fn row(number: usize, backend: &Measured, figures: &Figures) -> Row {
    let median = |figure: Figure| {
        let value = figure.spread(figures)?.median;
        Some((value, figure.unit().show(value)))
    };
    let one_process = backend.is_one_process();
    Row {
        number,
        name: backend.name.clone(),
        figures: [
            median(Figure::DeliveryP50),
            median(Figure::DeliveryP99),
            most(figures),
            cpu(figures, one_process),
        ],
        // Words for those who do not know the capability table.
        restart: match backend.promise("on restart") {
            Some("delivered") => "all delivered".to_owned(),
            Some("announced") => "losses announced".to_owned(),
            Some(other) => other.to_owned(),
            None => "not known".to_owned(),
        },
        apart: one_process,
    }
}

/// Returns deliveries in a second at the highest rate that held; a lower bound if no higher rate failed.
fn most(figures: &Figures) -> Option<(f64, String)> {
    let value = most_deliveries(figures)?;
    // Each run's ladder must have ended at a failure; otherwise the true figure may be higher.
    let ended = knees(figures).iter().all(|knee| knee.failed.is_some());
    Some((value, at_least(ended, Unit::Rate.show(value))))
}

/// Returns microseconds of CPU time per delivery, of hubs and broker; a lower bound if a broker's CPU time was not seen.
fn cpu(figures: &Figures, one_process: bool) -> Option<(f64, String)> {
    let costs = || figures.rounds.iter().map(|round| &round.cost);
    // A broker whose process was not seen counts as 0, which `at_least` then marks.
    let both = costs().filter_map(|it| Some(it.hub_cpu? + it.broker_cpu.unwrap_or(0.0)));
    let value = Spread::of(both)?.median;
    // Without a broker there is nothing that could be missing.
    let whole = one_process || costs().all(|it| it.broker_cpu.is_some());
    Some((value, at_least(whole, Unit::Time.show(value))))
}

/// Marks a value that is only a lower bound.
fn at_least(exact: bool, value: String) -> String {
    match exact {
        true => value,
        false => format!("≥ {value}"),
    }
}

/// Returns a row's values as text; “–” for what was not measured.
/// In the order of the heads; the promise comes last.
fn cells(row: &Row) -> impl Iterator<Item = String> {
    let says = |it: &Option<(f64, String)>| it.as_ref().map_or("–", |(_, says)| says).to_owned();
    let figures = row.figures.iter().map(says);
    figures
        .chain([row.restart.clone()])
        .collect::<Vec<_>>()
        .into_iter()
}

/// Returns the card's figures as a table, for readers who can't see the picture.
fn table(card: &Scorecard) -> Vec<Vec<String>> {
    let titles = card.heads.iter().map(|(title, ..)| *title);
    let head = ["backend"]
        .into_iter()
        .chain(titles)
        .chain([card.promise.0]);
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    let filled = |row: &Row| [row.name.clone()].into_iter().chain(cells(row)).collect();
    rows.extend(card.rows.iter().map(filled));
    rows
}

/// Returns what a screen reader says for the picture.
/// The indices are those of [`cells`].
fn read_out(scenario: &str, rows: &[Row]) -> String {
    let each = rows.iter().map(|row| {
        let cells: Vec<_> = cells(row).collect();
        format!(
            "{} p50 {}, p99 {}, most deliveries {}, CPU per delivery {}, when the broker restarts: {}",
            row.name, cells[0], cells[1], cells[2], cells[3], cells[4]
        )
    });
    format!(
        "{scenario}, the scorecard. {}.",
        each.collect::<Vec<_>>().join("; ")
    )
}
