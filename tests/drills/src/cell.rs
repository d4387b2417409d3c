//! What a drill found: the counts, and the gates that did not hold.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::checker::Verdict;

/// How that failure is worded.
pub(crate) const LOST_ON_A_LOG: &str = "announced as lost, on a log that is whole";

/// What a drill found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cell {
    pub(crate) drill: String,
    pub(crate) backend: String,
    pub(crate) seconds: f64,
    /// The checker's count, where the drill has clients that are checked.
    pub(crate) verdict: Option<Verdict>,
    /// Numbers of this drill alone.
    pub(crate) figures: BTreeMap<String, Value>,
    /// Why it was not run here; then nothing is claimed.
    pub(crate) left_out: Option<String>,
    /// The gates that did not hold; empty is green.
    pub(crate) failures: Vec<String>,
    /// What a reader should know, such as what was left out here and why.
    pub(crate) notes: Vec<String>,
}

impl Cell {
    /// A gate: what must hold, in words, and whether it does.
    pub(crate) fn gate(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.failures.push(what.into());
        }
    }

    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Something was lost, or delivered as it must not be.
    pub(crate) fn is_wrong(&self) -> bool {
        let counts = self.verdict.as_ref().map(|v| {
            v.lost_silent
                + v.lost_silent_native
                + v.repeated
                + v.reordered
                + v.phantom
                + v.dishonest
        });
        let lost = |failure: &String| failure.contains(LOST_ON_A_LOG);
        counts.is_some_and(|count| count > 0) || self.failures.iter().any(lost)
    }

    /// A drill that can't be run here.
    pub(crate) fn left_out(why: impl Into<String>) -> Self {
        Self {
            left_out: Some(why.into()),
            ..Self::default()
        }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}
