//! One cell of the final table: what one drill found on one backend.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::checker::Verdict;

/// Part of a failure's text by which `Cell::is_wrong` knows that clients lost something.
///
/// Both places use this constant, so that they can't drift apart.
pub(crate) const LOST_ON_A_LOG: &str = "announced as lost, on a log that is whole";

/// What one drill found on one backend.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cell {
    /// The names of drill and backend are set by the runner.
    pub(crate) drill: String,
    pub(crate) backend: String,
    pub(crate) seconds: f64,
    /// The checker's count, where the drill has clients that are checked.
    pub(crate) verdict: Option<Verdict>,
    /// Numbers that only this drill measures, by name.
    pub(crate) figures: BTreeMap<String, Value>,
    /// Why the drill was not run here; then nothing is claimed.
    pub(crate) left_out: Option<String>,
    /// The requirements that did not hold. The drill has passed if there are none.
    pub(crate) failures: Vec<String>,
    /// What a reader should know, such as what was left out here and why.
    pub(crate) notes: Vec<String>,
}

impl Cell {
    /// Checks a requirement. `what` is the failure's text, which is kept if the requirement does not hold.
    pub(crate) fn gate(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.failures.push(what.into());
        }
    }

    /// Adds a number to the report; the same name again replaces it.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Returns true if clients lost something in silence or got something wrong. Such a drill gets no second chance, other
    /// than one that only missed a time.
    pub(crate) fn is_wrong(&self) -> bool {
        // What was repeated or reordered is wrong, too; only gaps and times are left out.
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

    /// The result of a drill that can't be run here.
    pub(crate) fn left_out(why: impl Into<String>) -> Self {
        Self {
            left_out: Some(why.into()),
            ..Self::default()
        }
    }

    /// Adds a line to the report.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}
