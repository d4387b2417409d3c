//! Log lines that outsiders could cause without end: messages that can't be read, requests that the
//! broker refuses. Whoever can publish could fill the disk with them.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one line in ten seconds through and counts what they stand for.
#[derive(Debug, Default)]
pub struct LogLimiter {
    last: Option<Instant>,
    count: u64,
}

impl LogLimiter {
    /// Returns a limiter that lets the first line through.
    pub const fn new() -> Self {
        let (last, count) = (None, 0);
        Self { last, count }
    }

    /// Notes one more occasion. Returns how many there were so far if it is time for a line.
    pub fn due(&mut self) -> Option<u64> {
        self.count += 1;
        let due = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        due.then(|| {
            self.last = Some(Instant::now());
            self.count
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_line_waits() {
        let mut limiter = LogLimiter::new();
        assert_eq!(limiter.due(), Some(1));
        assert_eq!(limiter.due(), None);
        limiter.last = Instant::now().checked_sub(PAUSE);
        assert_eq!(limiter.due(), Some(3));
    }
}
