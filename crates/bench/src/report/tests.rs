//! The page must hold all figures, load nothing, and be safe whatever names the figures have.
use super::html;
use crate::{merge::Merged, sample::run};

#[test]
fn a_report_has_all_its_parts() {
    // One word of each section, in no order.
    let text = html(&run().into()).unwrap();
    for part in [
        "<html lang=\"en\">",
        "<title>memory, redis and kafka through the hub</title>",
        "What the figures say",
        "id=\"s-progress\"",
        "id=\"s-fanout\"",
        "After a fault",
        "What each broker promises",
        "AMD EPYC 7B13, 2 cores, 8.0 GiB",
        "hubplane bench --backplane memory:",
        "How to read this",
        "limit 100 ms",
        "broker alone",
    ] {
        assert!(text.contains(part), "{part}");
    }
    // In each of two scenarios: two forms of three charts, one of each panel and bar chart; all with a name.
    let charts = text.matches("role=\"img\"").count();
    assert_eq!(charts, 2 * (6 + 3 + 3));
    assert_eq!(
        text.matches("<svg class=\"wide\" role=\"img\" aria-label=\"")
            .count(),
        6
    );
}

#[test]
fn it_asks_for_nothing_and_runs_nothing() {
    // Any of these would make a browser load or run something.
    let text = html(&run().into()).unwrap();
    for bad in [
        "<script", "http://", "https://", "@import", "src=", "xlink", "onload",
    ] {
        assert!(!text.contains(bad), "{bad}");
    }
    // No stand-in colour is left.
    assert!(!text.contains("#0A0"));
}

#[test]
fn names_and_addresses_can_not_become_markup() {
    // Breaks out of an element, of an attribute in either quotation mark, and of an entity.
    let evil = "<img src=x onerror=alert(1)>\"'&";
    let mut run = run();
    // Each place where a text from a file reaches the page.
    run.backends[1].name = evil.to_owned();
    run.backends[1].address = evil.to_owned();
    run.backends[1].failure = Some(evil.to_owned());
    run.backends[1].promises[0] = (evil.to_owned(), evil.to_owned());
    run.command = evil.to_owned();
    run.machine.processor = evil.to_owned();
    run.scenarios[0].what = evil.to_owned();
    let text = html(&run.into()).unwrap();
    assert!(!text.contains("<img") && text.contains("&lt;img src=x"));
}

#[test]
fn what_was_not_measured_leaves_no_hole() {
    // A run without ladders, faults, costs and the broker alone; one backend failed altogether.
    let mut run = run();
    for backend in &mut run.backends {
        for figures in backend.scenarios.values_mut() {
            figures.ladder.clear();
            figures.faults.clear();
            figures.rounds.iter_mut().for_each(|it| {
                it.cost = Default::default();
                it.alone = None;
            });
        }
    }
    run.backends[2].scenarios.clear();
    run.backends[2].failure = Some("connection refused".to_owned());
    let text = html(&run.clone().into()).unwrap();
    assert!(text.contains("kafka failed: connection refused."));
    // A section without content leaves no heading behind.
    assert!(!text.contains("Highest rate</h3>") && !text.contains("After a fault"));
    // No backend at all is the extreme of it.
    run.backends.clear();
    let empty = html(&run.into()).unwrap();
    assert!(empty.contains("No backend was measured"));
}

#[test]
fn runs_of_two_machines_are_marked_in_the_report() {
    // The same run but for its cores, which is enough to forbid comparing.
    let mut other = run();
    other.machine.cores = 16;
    let both = Merged::from(run()).with(other.into()).unwrap();
    let text = html(&both).unwrap();
    assert!(text.contains("on different machines") && text.contains("Run 2"));
    assert!(text.contains("redis, run 2"));
}

#[test]
fn a_title_names_no_more_than_fit() {
    // Four names: too long for a title, so they stand in the sentence below it.
    let mut run = run();
    run.backends.push(run.backends[2].clone());
    run.backends[3].name = "amqp".to_owned();
    let text = html(&run.into()).unwrap();
    assert!(text.contains("<h1>4 backends through the hub</h1>"));
    assert!(text.contains("memory, redis, kafka and amqp. One run"));
}

#[test]
fn the_page_begins_with_the_scorecard() {
    let text = html(&run().into()).unwrap();
    // Places in the text stand for the order on the page.
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}"));
    let card = at("id=\"scorecard\"");
    assert!(card < at("id=\"findings\"") && at("id=\"findings\"") < at("id=\"s-progress\""));
    // What a screen reader says has the figures of each row.
    for part in [
        "progress, the scorecard. memory p50 ",
        "; kafka p50 ",
        "when the broker restarts: losses announced; ",
        "when the broker restarts: all delivered.",
    ] {
        assert!(card < at(part), "{part}");
    }
    // It is shown once in each form for each scenario, and not again in the first one's own section.
    let section = &text[at("id=\"s-progress\"")..at("id=\"s-fanout\"")];
    assert!(!section.contains("the scorecard"));
    assert!(text[at("id=\"s-fanout\"")..].contains("fanout, the scorecard"));
}

#[test]
fn the_scorecard_sets_apart_what_can_not_span_processes() {
    let apart = "One process only";
    let text = html(&run().into()).unwrap();
    // Both forms, in both scenarios.
    assert_eq!(text.matches(apart).count(), 4);
    // `memory` was the only backend of one process; without it there is no line.
    let mut run = run();
    run.backends.remove(0);
    assert!(!html(&run.into()).unwrap().contains(apart));
}

#[test]
fn the_scorecard_says_where_a_figure_is_a_lower_bound() {
    // Every step held, so the true highest rate may be higher; a broker's CPU time was not seen.
    let mut run = run();
    let figures = run.backends[1].scenarios.get_mut("progress").unwrap();
    figures.ladder.retain(|step| step.held);
    for round in &mut figures.rounds {
        round.cost.broker_cpu = None;
    }
    let text = html(&run.into()).unwrap();
    // What a screen reader says of redis, up to the next backend.
    let redis = text.split("; redis p50 ").nth(1).unwrap();
    let redis = redis.split(';').next().unwrap();
    assert!(redis.contains("most deliveries ≥ "), "{redis}");
    assert!(redis.contains("CPU per delivery ≥ "), "{redis}");
}
