//! Log lines that outsiders could cause without end.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one line in ten seconds through and counts what they stand for.
#[derive(Debug)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    count: u64,
}

impl Seldom {
    /// Before the first occasion.
    pub(crate) const fn new() -> Self {
        let (last, count) = (None, 0);
        Self { last, count }
    }

    /// Notes one more occasion. Returns how many there were so far if it is time for a line.
    pub(crate) fn due(&mut self) -> Option<u64> {
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
        let mut seldom = Seldom::new();
        assert_eq!(seldom.due(), Some(1));
        assert_eq!(seldom.due(), None);
        seldom.last = Instant::now().checked_sub(PAUSE);
        assert_eq!(seldom.due(), Some(3));
    }
}
