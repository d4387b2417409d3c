//! What has happened since the start, for metrics. Counting costs one relaxed addition.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hubplane_backplane::GapCause;

use super::{Hub, limited::Limit, outbox::Dropped};

/// The upper ends of the loop times' buckets, in seconds.
pub const LOOP_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0,
];

/// The counters. Each is only ever added to.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages queued to sessions.
    pub deliveries: AtomicU64,
    /// Writes to sockets, for deliveries and everything else.
    pub writes: AtomicU64,
    /// Sessions cut off because they did not read fast enough.
    pub slow: AtomicU64,
    /// Messages dropped because their client took too little, as its subscription's rule says.
    pub dropped: AtomicU64,
    /// Messages of which only the newest waits, replaced by a newer one before they were written.
    pub replaced: AtomicU64,
    /// Messages replaced by a newer one because their client wants only so many a second.
    pub thinned: AtomicU64,
    /// Panics that were caught.
    pub panics: AtomicU64,
    /// Messages that came again and were not passed on.
    pub repeated: AtomicU64,
    /// Messages of other programs whose id is not allowed; it counts as absent.
    pub bad_ids: AtomicU64,
    /// Messages that did not arrive and were read from the log.
    pub refilled: AtomicU64,
    /// Reads of the broker's log.
    pub history_reads: AtomicU64,
    /// Messages that were published again because the broker had not taken them.
    pub retries: AtomicU64,
    /// Subscriptions that were given what they missed from memory.
    pub from_window: AtomicU64,
    /// Subscriptions that were given what they missed from the broker's log.
    pub from_history: AtomicU64,
    /// Subscriptions that could not be given what they missed.
    pub not_recovered: AtomicU64,
    /// Messages that were in another lane than their channel's own.
    pub foreign_lane: AtomicU64,
    /// How long this instance's beacons took to come back.
    pub loops: Histogram,
    gaps: [AtomicU64; GapCause::ALL.len()],
    limited: [AtomicU64; Limit::ALL.len()],
}

impl Counts {
    /// Counts an announced gap.
    pub(super) fn count_gap(&self, cause: GapCause) {
        let known = GapCause::ALL.iter().position(|known| *known == cause);
        if let Some(count) = known.and_then(|index| self.gaps.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a refusal because a limit is reached.
    pub fn count_limited(&self, limit: Limit) {
        let known = Limit::ALL.iter().position(|known| *known == limit);
        if let Some(count) = known.and_then(|index| self.limited.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many were refused, by limit.
    pub fn limited(&self) -> impl Iterator<Item = (Limit, u64)> {
        let all = self.limited.iter();
        let counts = all.map(|count| count.load(Ordering::Relaxed));
        Limit::ALL.into_iter().zip(counts)
    }

    /// Counts what was dropped of a slow session, and the gaps that tell of it.
    pub(super) fn count_dropped(&self, dropped: Dropped) {
        self.dropped.fetch_add(dropped.messages, Ordering::Relaxed);
        for _ in 0..dropped.gaps {
            self.count_gap(GapCause::Slow);
        }
    }

    /// Returns how many gaps were announced, by cause.
    pub fn gaps(&self) -> impl Iterator<Item = (GapCause, u64)> {
        let counts = self.gaps.iter().map(|count| count.load(Ordering::Relaxed));
        GapCause::ALL.into_iter().zip(counts)
    }
}

impl Hub {
    pub(crate) fn count_deliveries(&self, count: usize) {
        self.counts()
            .deliveries
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_slow(&self) {
        self.counts().slow.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many times fell into each bucket of [`LOOP_BUCKETS`]; longer ones are in the count and the
/// sum only.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LOOP_BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one time.
    pub(super) fn record(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let fitting = LOOP_BUCKETS.iter().position(|end| seconds <= *end);
        if let Some(index) = fitting {
            self.buckets[index].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns how many times were at most as long as each bucket's end, how many there were in
    /// all, and their sum in seconds.
    pub fn read(&self) -> ([u64; LOOP_BUCKETS.len()], u64, f64) {
        let mut sums = [0; LOOP_BUCKETS.len()];
        let mut sum = 0;
        for (bucket, total) in self.buckets.iter().zip(&mut sums) {
            sum += bucket.load(Ordering::Relaxed);
            *total = sum;
        }
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        (sums, self.count.load(Ordering::Relaxed), seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_by_cause() {
        let counts = Counts::default();
        counts.count_gap(GapCause::Deaf);
        counts.count_gap(GapCause::Deaf);
        let told: Vec<_> = counts.gaps().filter(|(_, count)| *count > 0).collect();
        assert_eq!(told, [(GapCause::Deaf, 2)]);
    }

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::default();
        for millis in [1, 40, 9_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let (buckets, count, seconds) = histogram.read();
        assert_eq!((buckets[1], buckets[6], buckets[11], count), (1, 2, 2, 3));
        assert!((seconds - 9.041).abs() < 0.001);
    }
}
