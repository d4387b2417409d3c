//! How often something may happen: one token bucket, and a table of them by name or address. Both
//! are given the time, and know nothing of what is counted.

use std::{
    hash::Hash,
    time::{Duration, Instant},
};

use crate::map::HashMap;

/// A steady rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The time that one earns back.
    interval: Duration,
    /// How many may come at once; 1 or more.
    burst: u32,
}

impl Allowance {
    /// Returns the allowance of `count` in the time `per`, of which `burst` may come at once. Zeros
    /// count as one.
    pub fn new(count: usize, per: Duration, burst: usize) -> Self {
        let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX).max(1);
        Self {
            // A rate above one in a nanosecond is no limit.
            interval: per / number(count),
            burst: number(burst),
        }
    }
}

/// A token bucket, kept as the moment when it is full again (GCRA; ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Returns a full bucket.
    pub const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Returns true if nothing is taken from it, so that it need not be kept.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes `count` at once. What is more than the burst passes when the bucket is full, and is
    /// earned back afterwards, so the rate holds for it, too.
    ///
    /// # Errors
    /// The time after which to try again. Nothing is taken.
    pub fn take(&mut self, count: u32, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        self.wait(count, allowance, now).map_or(Ok(()), Err)?;
        self.full_at = self.full_at.max(now) + allowance.interval * count;
        Ok(())
    }

    /// Returns how long to wait until [`Self::take`] would take this; `None`: it would now.
    pub fn wait(&self, count: u32, allowance: Allowance, now: Instant) -> Option<Duration> {
        let missing = self.full_at.saturating_duration_since(now) + allowance.interval * count;
        let room = allowance.interval * allowance.burst.max(count);
        missing.checked_sub(room).filter(|wait| !wait.is_zero())
    }
}

/// Buckets by name or address. Full ones are forgotten, and there is a bound: what is beyond it
/// passes uncounted, as nobody who has so many names is stopped by a limit for each.
#[derive(Debug)]
pub struct Buckets<K> {
    all: HashMap<K, Bucket>,
    most: usize,
    /// From so many buckets on it is worth looking for full ones.
    tidy_from: usize,
    /// When that was last done. At the bound each new name would do it otherwise.
    tidied: Option<Instant>,
}

/// Below so many buckets nothing is forgotten.
const FEW: usize = 64;
/// Between two looks for full buckets while there are as many as there may be.
const PAUSE: Duration = Duration::from_secs(1);

impl<K: Hash + Eq> Buckets<K> {
    /// Returns an empty table for `most` names.
    pub fn new(most: usize) -> Self {
        Self {
            all: HashMap::default(),
            most,
            tidy_from: FEW.min(most),
            tidied: None,
        }
    }

    /// As [`Bucket::take`], from the bucket of this name.
    ///
    /// # Errors
    /// The time after which to try again.
    pub fn take(
        &mut self,
        key: K,
        count: u32,
        allowance: Allowance,
        now: Instant,
    ) -> Result<(), Duration> {
        if let Some(bucket) = self.all.get_mut(&key) {
            return bucket.take(count, allowance, now);
        }
        self.tidy(now);
        let mut bucket = Bucket::full(now);
        bucket.take(count, allowance, now)?;
        if self.all.len() < self.most {
            self.all.insert(key, bucket);
        }
        Ok(())
    }

    /// Returns how long the bucket of this name would let wait; `None`: it would not.
    pub fn wait(&self, key: &K, count: u32, rate: Allowance, now: Instant) -> Option<Duration> {
        self.all.get(key)?.wait(count, rate, now)
    }

    /// Forgets full buckets, when there are twice as many buckets as were left the last time.
    fn tidy(&mut self, now: Instant) {
        if self.all.len() < self.tidy_from || self.tidied.is_some_and(|last| now < last + PAUSE) {
            return;
        }
        self.all.retain(|_, bucket| !bucket.is_full(now));
        self.all.shrink_to(self.all.len() * 2);
        self.tidy_from = (self.all.len() * 2).clamp(FEW.min(self.most), self.most);
        self.tidied = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let allowance = Allowance::new(10, SECOND, 20);
        let mut bucket = Bucket::full(start);
        let passed = |bucket: &mut Bucket, now| {
            (0..100)
                .filter(|_| bucket.take(1, allowance, now).is_ok())
                .count()
        };
        assert_eq!(passed(&mut bucket, start), 20);
        assert_eq!(
            bucket.take(1, allowance, start),
            Err(Duration::from_millis(100)),
            "the time to wait is exact"
        );
        assert_eq!(passed(&mut bucket, start + SECOND), 10);
        assert!(!bucket.is_full(start + SECOND));
        assert_eq!(
            passed(&mut bucket, start + SECOND * 60),
            20,
            "no more is saved"
        );
        assert!(bucket.is_full(start + SECOND * 62));
    }

    #[test]
    fn more_than_a_burst_waits_for_a_full_bucket_and_is_earned_back() {
        let start = Instant::now();
        let allowance = Allowance::new(10, SECOND, 10);
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.take(50, allowance, start), Ok(()));
        assert_eq!(
            bucket.take(1, allowance, start),
            Err(Duration::from_millis(4_100))
        );
        assert_eq!(bucket.take(50, allowance, start + SECOND), Err(SECOND * 4));
        assert_eq!(bucket.take(50, allowance, start + SECOND * 5), Ok(()));
    }

    #[test]
    fn names_have_a_bucket_each_and_full_ones_go() {
        let start = Instant::now();
        let allowance = Allowance::new(1, SECOND, 1);
        let mut all = Buckets::new(100);
        for name in 0..1_000 {
            assert_eq!(all.take(name, 1, allowance, start), Ok(()), "{name}");
        }
        assert_eq!(all.all.len(), 100, "memory has its bound");
        assert_eq!(all.take(0, 1, allowance, start), Err(SECOND));
        assert_eq!(all.wait(&0, 1, allowance, start), Some(SECOND));
        assert_eq!(all.take(7_000, 1, allowance, start + SECOND * 2), Ok(()));
        assert_eq!(all.all.len(), 1, "the others were full");
    }
}
