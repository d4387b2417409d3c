//! Builds the page as a whole: its head, the contents, the scorecard, the findings, the scenarios, and what follows them.
//!
//! The order goes from what every reader wants to what few need. How a chart or a table looks is decided elsewhere.

use super::{
    chart::{Failed, patterns},
    html::Html,
    scenario,
    scorecard::scorecard,
    source::{self, day},
};
use crate::{
    merge::Merged,
    scenario::Scenario,
    summary::{findings, list, soundness},
    table::{faults, work},
};

/// Part of the page, since the page must load nothing.
const STYLE: &str = include_str!("report.css");
/// Lets the browser load nothing, even if a name in the figures has a link in it.
///
/// The page has no script at all, so none is allowed; charts are part of the document and need no
/// permission.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Returns the whole document. A section without content is left out, and so is its entry in the contents.
///
/// # Errors
///
/// A chart can't be drawn.
pub(super) fn page(merged: &Merged) -> Result<String, Failed> {
    let scenarios = measured(merged);
    let broken = faults(merged);
    let mut html = Html::new();
    let title = title(merged);
    head(&mut html, &title);
    html.inside("header", &[], |html| {
        html.element("p", &[("class", "kind")], "hubplane bench");
        html.element("h1", &[], &title);
        html.element("p", &[("class", "lead")], &lead(merged));
    });
    let names = scenarios.iter().map(|it| &*it.name).collect::<Vec<_>>();
    // One row alone is the head of the table: no fault was tried.
    contents(&mut html, &names, broken.len() > 1);
    let mut body = Html::new();
    // The scorecard is of the first scenario, which the user put first, or which represents most
    // uses.
    if let Some(first) = scenarios.first() {
        let card = scorecard(merged, first)?;
        body.section("scorecard", "Scorecard", |html| {
            let says = format!("{}: {}.", first.name, work(first));
            html.element("p", &[("class", "lead")], &says);
            html.raw(&card);
        });
    }
    body.section("findings", "What the figures say", |html| {
        what_they_say(html, merged, &scenarios);
    });
    for (number, scenario) in scenarios.iter().enumerate() {
        scenario::section(&mut body, merged, scenario, number == 0)?;
    }
    if broken.len() > 1 {
        body.section("faults", "After a fault", |html| recovery(html, &broken));
    }
    body.section("promises", "What each broker promises", |html| {
        promises(html, merged)
    });
    body.section("source", "Machines and commands", |html| {
        source::machines(html, merged)
    });
    body.section("reading", "How to read this", source::reading);
    // Written into a page of its own first, so that a section may fail before its place in the page
    // is opened.
    html.inside("main", &[], |html| html.raw(&body.done()));
    html.inside("footer", &[], |html| {
        html.text("Made by hubplane bench. This file holds all that it shows and loads nothing.");
    });
    html.raw("</body>\n</html>\n");
    Ok(html.done())
}

/// Returns the scenarios in which at least one backend was measured.
fn measured(merged: &Merged) -> Vec<&Scenario> {
    let backends = || merged.backends.iter();
    let scenarios = merged.scenarios.iter();
    scenarios
        .filter(|it| backends().any(|backend| backend.scenarios.contains_key(&it.name)))
        .collect()
}

/// Writes all that stands before the page's own text: the policy that forbids loading, the style, and the fill patterns
/// that the charts share.
fn head(html: &mut Html, title: &str) {
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n");
    html.void("meta", &[("charset", "utf-8")]);
    let viewport = "width=device-width, initial-scale=1";
    html.void("meta", &[("name", "viewport"), ("content", viewport)]);
    let policy = [
        ("http-equiv", "Content-Security-Policy"),
        ("content", POLICY),
    ];
    // Must stand before anything that could load (CSP in a `meta` element holds for what follows
    // it).
    html.void("meta", &policy);
    let scheme = [("name", "color-scheme"), ("content", "light dark")];
    html.void("meta", &scheme);
    // An empty picture, or a browser would ask the server for `/favicon.ico`.
    html.void("link", &[("rel", "icon"), ("href", "data:,")]);
    html.element("title", &[], title);
    html.raw(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n"));
    html.raw(&patterns());
}

/// Writes the findings of each scenario, then whether the figures can be trusted.
fn what_they_say(html: &mut Html, merged: &Merged, scenarios: &[&Scenario]) {
    for scenario in scenarios {
        html.element("h3", &[], &format!("{}: {}", scenario.name, scenario.what));
        html.list(&findings(merged, scenario));
    }
    // Always there, and always after the findings: a reader must see when they can't be relied on.
    html.element("h3", &[], "Whether the figures are sound");
    html.list(&[soundness(merged), merged.warnings()].concat());
}

/// Returns the title, which names the backends if they are few.
fn title(merged: &Merged) -> String {
    let names: Vec<_> = merged.backends.iter().map(|it| &*it.name).collect();
    match names.len() {
        0 => "No backend was measured".to_owned(),
        // More names would be too long for a title; the line below it has them.
        number @ 4.. => format!("{number} backends through the hub"),
        _ => format!("{} through the hub", list(&names)),
    }
}

/// Returns the sentences below the title: which runs, on which days, with how many hubs.
fn lead(merged: &Merged) -> String {
    let names: Vec<_> = merged.backends.iter().map(|it| &*it.name).collect();
    let mut days: Vec<_> = merged.sources.iter().map(|it| day(it.started)).collect();
    // Runs of one day that follow each other show it once.
    days.dedup();
    let runs = match merged.sources.len() {
        1 => "One run".to_owned(),
        n => format!("{n} runs"),
    };
    let measured = match names.len() {
        4.. => format!("{}. ", list(&names)),
        _ => String::new(),
    };
    // All runs have the same number, or `warnings` says so.
    let hubs = merged.sources.first().map_or(0, |it| it.hubs);
    let hubs = match hubs {
        1 => "one hub process".to_owned(),
        n => format!("{n} hub processes"),
    };
    format!(
        "{measured}{runs}, {}, {hubs} for each backend, with real WebSocket clients. Latency counts from when a message was due \
         until a client received it.",
        list(&days)
    )
}

/// Writes the links to the sections. The names after `#` must be those of the sections in [`page`].
fn contents(html: &mut Html, scenarios: &[&str], faults: bool) {
    html.inside("nav", &[("aria-label", "Contents")], |html| {
        html.inside("ul", &[], |html| {
            let mut link = |to: &str, says: &str| {
                html.inside("li", &[], |html| {
                    html.element("a", &[("href", &format!("#{to}"))], says);
                });
            };
            if !scenarios.is_empty() {
                link("scorecard", "Scorecard");
            }
            link("findings", "Findings");
            for name in scenarios {
                link(&format!("s-{name}"), name);
            }
            if faults {
                link("faults", "After a fault");
            }
            link("promises", "Promises");
            link("source", "Machines and commands");
            link("reading", "How to read this");
        });
    });
}

/// Writes what happened after each fault, and how to read the columns.
fn recovery(html: &mut Html, rows: &[Vec<String>]) {
    html.element(
        "p",
        &[],
        "A hub or the broker was killed by SIGKILL while messages were being published. The time counts from the kill until \
         every subscriber had received a message that was due after it. “Lost” counts messages that were acknowledged and \
         never arrived, although the subscribers asked for what they had missed. “Announced” counts those of them that the \
         hub told the subscribers about.",
    );
    html.table("Each fault and its effect", rows);
}

/// Writes what each backend declares. Columns are collected from all runs, since older figures may have other columns.
fn promises(html: &mut Html, merged: &Merged) {
    // The note matters: a table of promises beside measurements looks as if the run had proved them.
    html.element(
        "p",
        &[],
        "What each backend declares. The conformance suite tests it; this run did not.",
    );
    // Backends of another build may have no row at all; they are named below the table.
    let promised = merged.backends.iter().filter(|it| !it.promises.is_empty());
    let mut columns: Vec<&str> = Vec::new();
    for (column, _) in promised.clone().flat_map(|it| &it.promises) {
        if !columns.contains(&&**column) {
            columns.push(column);
        }
    }
    let head = ["backend"].into_iter().chain(columns.iter().copied());
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for backend in promised {
        let cell = |column: &&str| {
            let found = backend.promises.iter().find(|(name, _)| name == column);
            found.map_or("–".to_owned(), |(_, says)| says.clone())
        };
        let name = [backend.name.clone()].into_iter();
        rows.push(name.chain(columns.iter().map(cell)).collect());
    }
    html.table("Promises of each backend", &rows);
    let unknown: Vec<_> = merged
        .backends
        .iter()
        .filter(|it| it.promises.is_empty())
        .map(|it| &*it.name)
        .collect();
    if !unknown.is_empty() {
        html.element(
            "p",
            &[],
            &format!("This run does not know the promises of {}.", list(&unknown)),
        );
    }
}
