//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential, with full jitter: anything from nothing to the limit, so that those who lost one hub do not all come
/// back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The first delay at most; doubled with each attempt.
    pub min: Duration,
    /// Any delay at most.
    pub max: Duration,
    /// A connection that lasted this long counts as good: the delays begin anew.
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
    /// The delay before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let most = limit(self.min, self.max, self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        // Without randomness the longest delay is the kindest.
        let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        most.mul_f64(part)
    }

    /// A connection has ended that lasted this long.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= self.stable {
            self.attempt = 0;
        }
    }
}

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
