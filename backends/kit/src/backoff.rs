//! The waits between tries to connect. A backend reconnects for as long as it lives, so there is no
//! last try; this file only says how long to wait before the next one.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The waits between tries: at most 20 ms at first, then doubling to a second. Each is cut at
/// random by up to a half, so that instances that lost the same broker don't come back in the same
/// millisecond.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
    since: Option<Instant>,
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(1);
    /// A connection that lived so long begins anew; one that breaks at once goes on waiting longer.
    const STEADY: Duration = Duration::from_secs(5);

    /// Notes the loss of a connection that came up at `since`. The waits begin anew if it lived for
    /// 5 s or more.
    pub fn lost(&mut self, since: Instant) {
        if since.elapsed() >= Self::STEADY {
            self.tries = 0;
        }
        self.since = Some(Instant::now());
    }

    /// Waits for [`Self::next_wait`].
    pub async fn wait(&mut self) {
        sleep(self.next_wait()).await;
    }

    /// Returns how long ago the last connection was lost, for the log line that says it is back;
    /// zero before the first loss.
    pub fn elapsed(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Returns the next wait and counts it as a try. For callers that must do something else
    /// meanwhile.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = Duration::from_millis(20 << self.tries.min(6)).min(Self::LONGEST);
        self.tries += 1;
        // Without randomness the waits are merely not jittered.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let half = ceiling / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_differ() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= Duration::from_millis(20));
        assert!(waits.iter().all(|wait| *wait <= Backoff::LONGEST));
        assert!(waits[10..].iter().all(|wait| *wait >= Backoff::LONGEST / 2));
        assert_ne!(waits[20], waits[21]);
    }
}
