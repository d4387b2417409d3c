//! How far the cases are, on standard error.

use std::io::{self, IsTerminal, Write};

use hubplane_conformance::Outcome;

use super::report::Tried;

/// So wide is the longest name, and a little more.
const NAME: usize = 42;

pub(super) struct Progress {
    of: usize,
    /// A line can be written anew there.
    terminal: bool,
}

impl Progress {
    pub(super) fn of(of: usize) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { of, terminal }
    }

    pub(super) fn begins(&self, index: usize, name: &str) {
        if self.terminal {
            self.say(&format!("[{:2}/{}] {name:NAME$}…", index + 1, self.of));
        }
    }

    pub(super) fn ended(&self, index: usize, tried: &Tried) {
        let outcome = match tried.outcome {
            Outcome::Held => "held",
            Outcome::NotHeld(_) => "NOT HELD",
            Outcome::NotTried(_) => "not tried",
        };
        let again = if self.terminal { "\r" } else { "" };
        let (name, took) = (tried.case.name, tried.took.as_secs_f32());
        let number = index + 1;
        let of = self.of;
        self.say(&format!(
            "{again}[{number:2}/{of}] {name:NAME$}{outcome:10} {took:4.1} s\n"
        ));
    }

    fn say(&self, text: &str) {
        let mut out = io::stderr().lock();
        // Nobody has to read it.
        _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
