//! TLS handshakes: each has its time, and those that fail are counted.
//!
//! Anybody who reaches the port can cause failures without end, so they are logged at most every ten
//! seconds. This file must not know how a handshake is done.

use std::{
    fmt::Display,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};

use crate::tls::{Secured, Tls};

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// The counts of one hub's server; zero where it has no TLS.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    failed: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

impl Handshakes {
    /// Does the handshake of a new connection, within `limit`. Returns `None` if the client has
    /// gone away without a word, or if the handshake fails, which is counted.
    pub(crate) async fn secured(
        &self,
        tls: &Tls,
        socket: TcpStream,
        limit: Duration,
    ) -> Option<Secured> {
        match timeout(limit, tls.handshake(socket)).await {
            Ok(Ok(secured)) => return secured,
            Ok(Err(error)) => self.failed(&error),
            Err(_elapsed) => self.failed(&"it took too long"),
        }
        None
    }

    /// Counts a handshake that failed.
    fn failed(&self, why: &dyn Display) {
        let count = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_time_for_a_line() {
            tracing::info!(count, %why, "TLS handshakes failed; this is the last one");
        }
    }

    /// Returns how many have failed since the start.
    pub(crate) fn count(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn is_time_for_a_line(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = logged.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_time {
            *logged = Some(Instant::now());
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_counted_and_few_are_logged() {
        let handshakes = Handshakes::default();
        assert!(handshakes.is_time_for_a_line());
        for _ in 0..3 {
            handshakes.failed(&"x");
            assert!(!handshakes.is_time_for_a_line());
        }
        assert_eq!(handshakes.count(), 3);
    }
}
