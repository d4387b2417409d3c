//! Writes the section of one scenario: what was done, then the charts (latency, highest rate, cost), then all figures as a
//! table.
//!
//! Each chart has a text for screen readers and a table with the same figures, so that nothing is shown by colour alone.

use super::{
    chart::{Bar, Failed, Format, Group, bars, knees, parts, together},
    figure::{figure, panel},
    html::Html,
    scorecard::scorecard,
};
use crate::{
    merge::Merged,
    results::Figures,
    scenario::Scenario,
    summary::{Figure, at, pairs, pool, rate},
    table::{rows, work},
};

/// Number, name and figures of each backend that was measured.
///
/// The number is the backend's place among all, not among these: it chooses the same colour
/// everywhere.
type Backends<'a> = Vec<(usize, &'a str, &'a Figures)>;

/// Writes the section. If `first` is true, the scorecard already begins the page and is not repeated here.
///
/// # Errors
///
/// A chart can't be drawn.
pub(super) fn section(
    html: &mut Html,
    merged: &Merged,
    scenario: &Scenario,
    first: bool,
) -> Result<(), Failed> {
    let name = &*scenario.name;
    let numbered = merged.backends.iter().enumerate();
    let backends: Backends<'_> = numbered
        .filter_map(|(number, it)| Some((number, &*it.name, it.scenarios.get(name)?)))
        .collect();
    let card = match first {
        true => String::new(),
        false => scorecard(merged, scenario)?,
    };
    // Before anything is written: a section must not be left half done.
    let latency = latency(name, &backends)?;
    let knee = knee(scenario, &backends)?;
    let cost = cost(name, &backends)?;
    // The prefix keeps a scenario's name apart from the identifiers of other sections.
    html.section(&format!("s-{name}"), name, |html| {
        html.element(
            "p",
            &[("class", "lead")],
            &format!("{}.", capital(&work(scenario))),
        );
        html.raw(&card);
        html.raw(&latency);
        html.raw(&knee);
        html.raw(&cost);
        html.element("h3", &[], "All figures");
        let rows = rows(merged, scenario);
        html.table(
            &format!("{name}: all figures, the median of the rounds (smallest–largest)"),
            &rows,
        );
        let pairs = pairs(merged, scenario);
        if !pairs.is_empty() {
            html.inside("details", &[], |html| {
                html.element("summary", &[], &format!("Every pair of backends in {name}"));
                html.list(&pairs);
            });
        }
    });
    Ok(())
}

/// Returns the text with a capital letter at its beginning.
fn capital(text: &str) -> String {
    let mut signs = text.chars();
    let first = signs.next().map(|it| it.to_uppercase().to_string());
    first.unwrap_or_default() + signs.as_str()
}

/// Returns the latency charts: all backends in one, then each on its own with its acknowledgement and its broker alone.
/// Empty if no backend has a curve.
///
/// Each chart exists in the forms for a wide and a narrow screen.
fn latency(scenario: &str, backends: &Backends<'_>) -> Result<String, Failed> {
    let mut html = Html::new();
    let title = format!("{scenario}: delivery by percentile");
    let mut charts = Vec::new();
    for format in [Format::Wide, Format::Narrow] {
        charts.extend(together(backends, format, &read_out(&title, backends))?);
    }
    if charts.is_empty() {
        return Ok(String::new());
    }
    html.element("h3", &[], "Latency");
    let caption = "Delivery, all rounds together: the longest time that the fastest 50 %, 90 % and so on took. Lower is \
                   better. A line that rises steeply at its right end means that a few deliveries took far longer.";
    figure(&mut html, &charts, caption, &title, &percentiles(backends));
    // Prepared before the text that introduces them, as each may fail.
    let mut panels = Vec::new();
    for (_, backend, figures) in backends {
        let name = format!(
            "{scenario}, {backend}: delivery, acknowledgement and the broker alone by percentile"
        );
        if let Some(chart) = parts(figures, backends, &name)? {
            panels.push((backend, figures, chart));
        }
    }
    html.element(
        "p",
        &[],
        "Each backend on its own, all on the same logarithmic scale: the delivery, the acknowledgement to the publisher (ack), \
         and the broker alone (its own client without a hub, at the same rate and by the same clock).",
    );
    html.inside("div", &[("class", "panels")], |html| {
        for (backend, figures, chart) in panels {
            let table = format!("{scenario}, {backend}: latencies");
            panel(html, &chart, (backend, ""), &table, &three(figures));
        }
    });
    Ok(html.done())
}

/// Returns what a screen reader says for the latency chart.
/// Only the two percentiles that matter most: a long list can't be followed by ear; the table has
/// the others.
fn read_out(title: &str, backends: &Backends<'_>) -> String {
    let each = backends.iter().filter_map(|(_, name, figures)| {
        let time = |figure: Figure| Some(figure.unit().show(figure.spread(figures)?.median));
        let (p50, p99) = (time(Figure::DeliveryP50)?, time(Figure::DeliveryP99)?);
        Some(format!("{name} {p50} at 50 %, {p99} at 99 %"))
    });
    format!("{title}. {}.", each.collect::<Vec<_>>().join("; "))
}

/// The percentiles of the tables, as shares from 0 to 1.
/// 1 stands for the largest value, which is exact and not from a bucket.
const SHARES: [(f64, &str); 7] = [
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.95, "95 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (1.0, "largest"),
];

/// Returns the head of a table of percentiles.
fn shares(first: &str) -> Vec<String> {
    let head = SHARES.map(|(_, label)| label.to_owned());
    [first.to_owned()].into_iter().chain(head).collect()
}

/// Returns a row of percentiles. A percentile with fewer measurements than it needs shows “–”.
fn share_row(name: &str, latency: &crate::results::Latency) -> Vec<String> {
    let cell = |(share, _): (f64, &str)| match latency.count {
        // At least one measurement must lie above the percentile.
        // The tolerance is for floating point: 1,000 measurements are enough for 99.9 %.
        count if share < 1.0 && count as f64 * (1.0 - share) < 0.999 => "–".to_owned(),
        0 => "–".to_owned(),
        _ if share == 1.0 => Figure::DeliveryMax.unit().show(latency.max as f64),
        _ => Figure::DeliveryP50
            .unit()
            .show(at(&latency.buckets, share) as f64),
    };
    [name.to_owned()]
        .into_iter()
        .chain(SHARES.map(cell))
        .collect()
}

/// Returns the delivery percentiles of all backends, all rounds joined.
/// Buckets are pooled, so each round counts by its measurements.
fn percentiles(backends: &Backends<'_>) -> Vec<Vec<String>> {
    let mut rows = vec![shares("backend")];
    rows.extend(backends.iter().map(|(_, name, figures)| {
        share_row(name, &pool(figures.rounds.iter().map(|it| &it.delivery)))
    }));
    rows
}

/// Returns the percentiles of one backend: delivery, acknowledgement, and the broker alone if it was measured.
fn three(figures: &Figures) -> Vec<Vec<String>> {
    let rounds = || figures.rounds.iter();
    let mut rows = vec![
        shares("part"),
        share_row("delivery", &pool(rounds().map(|it| &it.delivery))),
        share_row(
            "acknowledged",
            &pool(rounds().map(|it| &it.acknowledgement)),
        ),
    ];
    let alone = pool(rounds().filter_map(|it| it.alone.as_ref()));
    // Hubs that ran already have no broker alone, and no row for it.
    if alone.count > 0 {
        rows.push(share_row("broker alone", &alone));
    }
    rows
}

/// Returns the chart of p99 at growing rates with a table of all steps. Empty if no ladder was run.
///
/// # Errors
///
/// A chart can't be drawn.
fn knee(scenario: &Scenario, backends: &Backends<'_>) -> Result<String, Failed> {
    let mut html = Html::new();
    let limit = scenario.ladder.p99_ms;
    let title = format!("{}: p99 at growing rates", scenario.name);
    // A backend without a ladder is left out of what is read out.
    let each = backends.iter().filter_map(|(_, name, figures)| {
        Some(format!("{name} {}", crate::summary::knee(figures)?))
    });
    let name = format!(
        "{title}, highest that held: {}.",
        each.collect::<Vec<_>>().join("; ")
    );
    let mut charts = Vec::new();
    for format in [Format::Wide, Format::Narrow] {
        charts.extend(knees(backends, limit, format, &name)?);
    }
    if charts.is_empty() {
        return Ok(String::new());
    }
    html.element("h3", &[], "Highest rate");
    let caption = format!(
        "The rate grows fourfold until a step fails; four more steps then narrow down where the limit lies. A cross marks a \
         step that failed: p99 above {limit} ms, or a message lost or refused. Further right is better."
    );
    let time = Figure::DeliveryP99.unit();
    let head = [
        "backend",
        "messages a second",
        "deliveries a second",
        "p50",
        "p99",
        "lost",
        "held",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    // All steps, also those that failed: the reader may judge where the limit lies.
    for (_, name, figures) in backends {
        rows.extend(figures.ladder.iter().map(|step| {
            vec![
                (*name).to_owned(),
                rate(step.rate),
                rate(step.deliveries),
                time.show(step.p50 as f64),
                time.show(step.p99 as f64),
                step.lost.to_string(),
                if step.held { "yes" } else { "no" }.to_owned(),
            ]
        }));
    }
    figure(&mut html, &charts, &caption, &title, &rows);
    Ok(html.done())
}

/// A chart of bars: the title, what is said of it, and the figures of hub and broker.
type Cost = (
    &'static str,
    &'static str,
    &'static [(&'static str, Figure)],
);

/// The charts of what a backend costs.
const COSTS: [Cost; 3] = [
    (
        "CPU per delivery",
        "CPU time of all hubs and of the broker, divided by the number of messages that clients received.",
        &[("hub", Figure::HubCpu), ("broker", Figure::BrokerCpu)],
    ),
    (
        "Memory",
        "All hubs, and the broker, at the end of a round. A page that processes share counts in part for each (PSS).",
        &[("hub", Figure::HubMemory), ("broker", Figure::BrokerMemory)],
    ),
    (
        "Bytes on the wire",
        "Between hubs and broker, both ways, for each published message.",
        &[("", Figure::Wire)],
    ),
];

/// Returns the charts of cost. Empty if no cost was seen, for example because hubs run on another machine.
///
/// # Errors
///
/// A chart can't be drawn.
fn cost(scenario: &str, backends: &Backends<'_>) -> Result<String, Failed> {
    let mut html = Html::new();
    let mut panels = Vec::new();
    for (title, says, figures) in COSTS {
        let group = |(_, name, of): &(usize, &str, &Figures)| {
            let bar = |(at, (part, figure)): (usize, &(&str, Figure))| {
                let spread = figure.spread(of)?;
                Some(Bar {
                    spread,
                    says: format!("{part} {}", figure.unit().show_spread(spread))
                        .trim()
                        .to_owned(),
                    // The second figure is the broker's.
                    striped: at > 0,
                })
            };
            let bars: Vec<_> = figures.iter().enumerate().filter_map(bar).collect();
            // A group without bars would be a name above nothing.
            (!bars.is_empty()).then(|| Group {
                name: (*name).to_owned(),
                bars,
            })
        };
        let groups: Vec<_> = backends.iter().filter_map(group).collect();
        let each = groups.iter().map(|group| {
            let bars: Vec<_> = group.bars.iter().map(|bar| &*bar.says).collect();
            format!("{} {}", group.name, bars.join(", "))
        });
        let name = format!(
            "{scenario}: {title}. {}.",
            each.collect::<Vec<_>>().join("; ")
        );
        if let Some(chart) = bars(&groups, &name)? {
            panels.push(((title, says), chart));
        }
    }
    if panels.is_empty() {
        return Ok(String::new());
    }
    html.element("h3", &[], "Cost");
    html.inside("div", &[("class", "panels")], |html| {
        for (caption, chart) in panels {
            // No table for each panel: all these values are in the table of all figures.
            panel(html, &chart, caption, "", &[]);
        }
    });
    html.element(
        "p",
        &[("class", "note")],
        "A bar shows the median of the rounds; the thin line on it goes from the smallest to the largest. The values are in \
         the table of all figures.",
    );
    Ok(html.done())
}
