//! What is seen while a run goes on, on standard error: a line for each measurement, and below them, on a terminal, how far the
//! run is. Standard output is for the results alone.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use hubplane_bench::run::Progress;

/// The width of the bar, in characters.
const WIDTH: usize = 24;

/// Standard error, as a terminal or as lines.
pub(super) struct Screen {
    /// From here the time that is left is estimated.
    begin: Instant,
    /// Whether standard error is a terminal, where a line can be written over.
    live: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            live: io::stderr().is_terminal(),
        }
    }

    /// Shows progress. If it can't be written, the run goes on: nobody has to see it.
    /// Lines are kept; the bar is written over by whatever comes next.
    pub(super) fn show(&mut self, progress: Progress) {
        let mut out = io::stderr().lock();
        match progress {
            Progress::Line(line) => {
                self.clear();
                _ = writeln!(out, "{line}");
            }
            Progress::Begin { done, of, what } if self.live => {
                self.clear();
                let bar = bar(done, of);
                let left = left(self.begin.elapsed(), done, of);
                _ = write!(out, "{bar} {done}/{of}{left}  {what}");
                // A line without an end stays in the buffer otherwise.
                _ = out.flush();
            }
            // In a file or a log, a bar would be a line for each step.
            Progress::Begin { .. } => {}
        }
    }

    /// Removes the last line, which says how far the run is.
    pub(super) fn clear(&self) {
        if self.live {
            // Carriage return, and "erase in line" (ECMA-48).
            _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// A bar in square brackets; empty if there is nothing to do.
fn bar(done: usize, of: usize) -> String {
    // `of` may be 0, which must not divide.
    let full = (WIDTH * done.min(of)).checked_div(of).unwrap_or(0);
    format!("[{}{}]", "#".repeat(full), "·".repeat(WIDTH - full))
}

/// Returns how long the run will still take, judged by what is done; empty while that says too little.
fn left(spent: Duration, done: usize, of: usize) -> String {
    // One measurement says little: the first has to start everything.
    if done < 2 {
        return String::new();
    }
    let seconds = spent.as_secs_f64() / done as f64 * of.saturating_sub(done) as f64;
    match seconds as u64 {
        seconds @ 0..90 => format!(", about {seconds} s left"),
        seconds => format!(", about {} min left", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(bar(0, 4), format!("[{}]", "·".repeat(24)));
        assert_eq!(bar(4, 4), format!("[{}]", "#".repeat(24)));
        // 26 characters: the bar and its brackets.
        assert_eq!(bar(1, 0).chars().count(), 26);
    }

    #[test]
    fn what_is_left_is_told_once_it_can_be_known() {
        let ten = Duration::from_secs(10);
        assert_eq!(left(ten, 1, 4), "");
        // Two of four took ten seconds, so the other two take ten more.
        assert_eq!(left(ten, 2, 4), ", about 10 s left");
        assert_eq!(left(ten * 60, 2, 4), ", about 10 min left");
    }
}
