//! How far the cases are, on standard error. Standard output is for the report alone.

use std::io::{self, IsTerminal, Write};

use hubplane_conformance::Outcome;

use super::report::Tried;

/// The width of the column of names: that of the longest, and a little more.
const NAME: usize = 42;

/// Shows each case as it begins and ends.
pub(super) struct Progress {
    /// How many cases there are.
    of: usize,
    /// Whether standard error is a terminal, where a line can be written over.
    terminal: bool,
}

impl Progress {
    pub(super) fn of(of: usize) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { of, terminal }
    }

    /// Shows that a case has begun; only where the line can be written over by its result.
    pub(super) fn begins(&self, index: usize, name: &str) {
        if self.terminal {
            self.say(&format!("[{:2}/{}] {name:NAME$}…", index + 1, self.of));
        }
    }

    /// Shows how a case ended, on a line that stays.
    pub(super) fn ended(&self, index: usize, tried: &Tried) {
        let outcome = match tried.outcome {
            Outcome::Held => "held",
            Outcome::NotHeld(_) => "NOT HELD",
            Outcome::NotTried(_) => "not tried",
        };
        // Writes over the line that said it had begun.
        let again = if self.terminal { "\r" } else { "" };
        let (name, took) = (tried.case.name, tried.took.as_secs_f32());
        let number = index + 1;
        let of = self.of;
        self.say(&format!(
            "{again}[{number:2}/{of}] {name:NAME$}{outcome:10} {took:4.1} s\n"
        ));
    }

    /// Writes and flushes, as the text may be a line without an end.
    fn say(&self, text: &str) {
        let mut out = io::stderr().lock();
        // If nobody reads it, the run goes on all the same.
        _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
