//! Shows what was found beside what is promised: as a table for people and as JSON for programs.
//!
//! This file only chooses words; whether a case holds is decided in `hubplane-conformance`.

use std::time::Duration;

use hubplane_backplane::{Address, Driver, Durability, Error};
use hubplane_conformance::{Case, Guarantee, Left, Outcome, Site};
use serde_json::{Value, json};

use crate::cli::backends::{HEAD, row};

/// The most characters of a message in the table; the whole message stands below it.
const IN_A_CELL: usize = 160;
/// The most characters of a message anywhere: a case may have seen thousands of messages.
const AT_ALL: usize = 2_000;

/// One case with its outcome and how long it took.
pub(super) struct Tried {
    pub(super) case: Case,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

/// The results of a whole run, also of one that was interrupted.
pub(super) struct Report {
    address: Address,
    driver: &'static dyn Driver,
    /// Whether the cases used the address's own topic, prefix or exchange, which is then not
    /// removed.
    in_place: bool,
    pub(super) tried: Vec<Tried>,
    /// What could not be removed from the broker, and why.
    pub(super) left: Vec<Left>,
    /// Whether a signal ended the run; what came before it is still reported.
    pub(super) interrupted: bool,
    /// Why the broker could not be reached any more.
    pub(super) gone: Option<Error>,
}

/// What was found about one guarantee.
struct Finding<'a> {
    guarantee: Guarantee,
    /// The cases that test it.
    cases: Vec<&'a Tried>,
}

impl Finding<'_> {
    /// Returns the name and the message of the first case that found something else than is promised.
    fn not_held(&self) -> Option<(&'static str, &str)> {
        self.cases.iter().find_map(|tried| match &tried.outcome {
            Outcome::NotHeld(message) => Some((tried.case.name, message.as_str())),
            _ => None,
        })
    }

    /// Returns why the first case that was not tried was not.
    fn not_tried(&self) -> Option<&str> {
        self.cases.iter().find_map(|tried| match &tried.outcome {
            Outcome::NotTried(reason) => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Returns how many cases held.
    fn held(&self) -> usize {
        let held = |tried: &&&Tried| tried.outcome == Outcome::Held;
        self.cases.iter().filter(held).count()
    }

    /// Returns the finding in one word, for programs.
    /// Scripts depend on these words.
    fn word(&self) -> &'static str {
        match (self.not_held(), self.not_tried(), self.held()) {
            (Some(_), ..) => "not_held",
            // No case held: nothing is known, for whatever reason.
            (None, _, 0) => "not_tried",
            (None, None, _) => "held",
            (None, Some(_), _) => "held_in_part",
        }
    }

    /// Returns the finding as a cell of the table. One case that does not hold decides, whatever the others found.
    fn sentence(&self, durability: Durability) -> String {
        let (held, of) = (self.held(), self.cases.len());
        // No program can cut a machine's power, so a held durability is only as strong as what can be tried.
        let logged = self.guarantee == Guarantee::Durability && durability == Durability::Logged;
        let limit = if logged {
            ", as far as a program can try it"
        } else {
            ""
        };
        match (self.not_held(), self.not_tried()) {
            (Some((name, message)), _) => {
                format!("NOT HELD: {name}: {}", shortened(message, IN_A_CELL))
            }
            (None, Some(reason)) if held == 0 => {
                format!("not tried: {}", shortened(reason, IN_A_CELL))
            }
            (None, Some(reason)) => {
                let reason = shortened(reason, IN_A_CELL);
                format!("held in {held} of {of} cases{limit}; not tried: {reason}")
            }
            // The user chose other cases.
            (None, None) if of == 0 => "not tried: not selected".to_owned(),
            (None, None) => format!("held{limit}"),
        }
    }
}

/// Returns the text on one line, cut after `most` characters.
fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // By characters and not by bytes: a cut within a character would panic.
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl Report {
    /// Begins an empty report on the backend of a site.
    pub(super) fn new(site: &Site, in_place: bool) -> Self {
        Self {
            address: site.own_address().clone(),
            driver: site.own_driver(),
            in_place,
            tried: Vec::new(),
            left: Vec::new(),
            interrupted: false,
            gone: None,
        }
    }

    /// Returns why the command ends with exit code 1, or `None` if all promises were kept.
    pub(super) fn failure(&self) -> Option<String> {
        let (_, not_held, _) = self.counts();
        if let Some(error) = &self.gone {
            // A broker that is gone explains all that follows, so it comes first.
            return Some(error.to_string());
        }
        match not_held {
            // All that was tried held, but not all was tried.
            0 if self.interrupted => Some("interrupted".to_owned()),
            0 => None,
            _ => Some(format!(
                "{not_held} of {} cases found something else than is promised",
                self.tried.len()
            )),
        }
    }

    /// Returns how many cases held, did not hold, and were not tried.
    fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for tried in &self.tried {
            match tried.outcome {
                Outcome::Held => counts.0 += 1,
                Outcome::NotHeld(_) => counts.1 += 1,
                Outcome::NotTried(_) => counts.2 += 1,
            }
        }
        counts
    }

    /// Returns one finding for each guarantee. A case may test several guarantees and then counts for each.
    fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        Guarantee::ALL.into_iter().map(|guarantee| {
            let about = |tried: &&Tried| tried.case.about.contains(&guarantee);
            // A guarantee that no case tests is still listed, so that nobody takes it for held.
            let cases = self.tried.iter().filter(about).collect();
            Finding { guarantee, cases }
        })
    }

    /// Returns the promise as `hubplane backends` shows it.
    fn promise(&self, guarantee: Guarantee) -> String {
        let promises = row(self.driver.schemes(), &self.driver.capabilities());
        let column = HEAD.iter().position(|name| *name == guarantee.as_str());
        // A guarantee without a column is one that every backend gives.
        column.map_or_else(
            || "as on every broker".to_owned(),
            |at| promises[at].clone(),
        )
    }

    /// Returns the report for people.
    pub(super) fn table(&self) -> String {
        let durability = self.driver.capabilities().durability;
        let mut rows = vec![["guarantee", "promise", "found"].map(str::to_owned)];
        rows.extend(self.findings().map(|finding| {
            let name = finding.guarantee.as_str().to_owned();
            let promise = self.promise(finding.guarantee);
            [name, promise, finding.sentence(durability)]
        }));
        let width = |column: usize| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or_default()
        };
        // The last column is not padded: it may be long, and nothing follows it.
        let (first, second) = (width(0), width(1));
        let mut lines = vec![self.address.to_string(), String::new()];
        lines
            .extend(rows.iter().map(|[name, promise, found]| {
                format!("{name:first$}  {promise:second$}  {found}")
            }));
        lines.push(String::new());
        lines.extend(self.details());
        lines.push(self.sum());
        lines.join("\n")
    }

    /// Whatever does not fit into a cell.
    fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for tried in &self.tried {
            let name = tried.case.name;
            match &tried.outcome {
                Outcome::NotHeld(message) => {
                    lines.push(format!("not held: {name}: {}", shortened(message, AT_ALL)));
                }
                Outcome::NotTried(reason) => {
                    lines.push(format!("not tried: {name}: {}", shortened(reason, AT_ALL)));
                }
                Outcome::Held => {}
            }
        }
        for Left { leaving, error } in &self.left {
            // The user gets the command that removes it, as this program may not be able to.
            lines.push(format!("left on the broker: {} ({error})", leaving.what));
            lines.push(format!("  remove it by: {}", leaving.removal));
        }
        if self.in_place {
            let kept = "in place: what the cases published stays as long as the broker keeps it";
            lines.push(kept.to_owned());
        }
        lines
    }

    /// Counts the cases; the times are those of the cases, without what was done between them.
    fn sum(&self) -> String {
        let (held, not_held, not_tried) = self.counts();
        let took: Duration = self.tried.iter().map(|tried| tried.took).sum();
        format!(
            "cases tried: {}, in {:.0} s: {held} held, {not_held} not held, {not_tried} not tried",
            self.tried.len(),
            took.as_secs_f32()
        )
    }

    /// Returns the report for programs. `held` says the same as the exit code.
    pub(super) fn json(&self) -> Value {
        let durability = self.driver.capabilities().durability;
        let guarantees: Value = self
            .findings()
            .map(|finding| {
                let cases: Vec<_> = finding.cases.iter().map(|tried| tried.case.name).collect();
                json!({
                    "guarantee": finding.guarantee.as_str(),
                    "promise": self.promise(finding.guarantee),
                    "finding": finding.word(),
                    "text": finding.sentence(durability),
                    "cases": cases,
                })
            })
            .collect();
        let cases: Value = self.tried.iter().map(case).collect();
        let left = self.left.iter().map(|Left { leaving, error }| {
            json!({ "what": leaving.what, "remove": leaving.removal, "because": error.to_string() })
        });
        json!({
            "backplane": self.address.to_string(),
            "capabilities": self.driver.capabilities(),
            "in_place": self.in_place,
            "held": self.failure().is_none(),
            "guarantees": guarantees,
            "cases": cases,
            "left": left.collect::<Value>(),
        })
    }
}

/// Returns one case for programs.
fn case(tried: &Tried) -> Value {
    let (outcome, reason) = match &tried.outcome {
        Outcome::Held => ("held", None),
        Outcome::NotHeld(message) => ("not_held", Some(message)),
        Outcome::NotTried(reason) => ("not_tried", Some(reason)),
    };
    let about: Vec<_> = tried
        .case
        .about
        .iter()
        .map(|about| about.as_str())
        .collect();
    json!({
        "name": tried.case.name,
        "about": about,
        "outcome": outcome,
        "reason": reason.map(|reason| shortened(reason, AT_ALL)),
        // Seconds to three digits.
        "seconds": (tried.took.as_secs_f64() * 1_000.0).round() / 1_000.0,
    })
}
