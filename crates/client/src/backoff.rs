//! How long to wait before the next attempt. Knows no clock: it is told how long a connection lasted.

use std::time::Duration;

/// Exponential delays with full jitter: each is random, between zero and a limit that doubles with each attempt. So the
/// clients that lost one hub do not all come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The limit of the first delay; it doubles with each attempt. 250 ms by default.
    pub min: Duration,
    /// The highest limit. 30 s by default.
    pub max: Duration,
    /// After a connection that lasted this long, the limit starts again at `min`. A hub that takes connections and
    /// drops them at once does not reset it. 5 s by default.
    pub stable: Duration,
    attempt: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(250),
            max: Duration::from_secs(30),
            stable: Duration::from_secs(5),
            attempt: 0,
        }
    }
}

impl Backoff {
    /// Returns the delay before the next attempt, and counts that attempt.
    pub(super) fn next(&mut self) -> Duration {
        let most = limit(self.min, self.max, self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        // If the system has no randomness, the longest delay is the one that burdens the hub least.
        let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        most.mul_f64(part)
    }

    /// Notes that a connection has ended which lasted this long.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= self.stable {
            self.attempt = 0;
        }
    }
}

/// Returns the limit of the delay before an attempt, counted from 0.
fn limit(min: Duration, max: Duration, attempt: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
    min.saturating_mul(factor).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_double_up_to_the_longest() {
        let (min, max) = (Duration::from_millis(250), Duration::from_secs(30));
        let limits = [0, 1, 2, 6, 7, 31, 32, 1_000].map(|attempt| limit(min, max, attempt));
        let millis = [250, 500, 1_000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(limits, millis.map(Duration::from_millis));
    }

    #[test]
    fn delays_are_spread_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let mut delays: Vec<_> = (0..200)
            .map(|_| {
                backoff.attempt = 3;
                backoff.next()
            })
            .collect();
        delays.sort();
        assert!(delays[10] < Duration::from_millis(500), "{:?}", delays[10]);
        assert!(delays[190] > Duration::from_millis(1_500));
        assert!(delays[199] <= Duration::from_secs(2));
        backoff.lasted(Duration::from_secs(1));
        assert_eq!(backoff.attempt, 4);
        backoff.lasted(Duration::from_secs(5));
        assert_eq!(backoff.attempt, 0);
    }
}
