//! What is counted, by all threads of the load, while one measurement runs.
//!
//! Each thread counts for itself, and they are added up at the end, so that counting makes no thread wait for another.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use hdrhistogram::Histogram;

use super::{clock::Clock, lock};
use crate::results::Latency;

/// The longest time that a histogram tells apart, in microseconds: two minutes. A longer one counts as this.
const LONGEST: u64 = 120_000_000;

/// Returns an empty histogram of microseconds, exact to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // 1 µs to `LONGEST`, three significant digits: about 150 KB for each histogram.
    Histogram::new_with_bounds(1, LONGEST, 3).expect("invariant: sound bounds")
}

/// One thread's counts, or the sum of all. What each count means is said in [`crate::results::Round`].
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    /// Told gaps; only counted, since a gap says not how many messages are missing.
    pub(crate) gaps: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// The channel and number of each acknowledged message, if the stage wants them (`fault`).
    pub(crate) accepted: Vec<(u32, u64)>,
    /// From when a message was due until a subscriber had it, in microseconds.
    pub(crate) delivery: Histogram<u64>,
    /// From when a message was due until its publisher had the answer, in microseconds.
    pub(crate) acknowledgement: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            delivered: 0,
            repeated: 0,
            reordered: 0,
            gaps: 0,
            acknowledged: 0,
            refused: 0,
            accepted: Vec::new(),
            delivery: histogram(),
            acknowledgement: histogram(),
        }
    }

    /// Keeps the memory of the histograms, which are large, and of the list.
    fn clear(&mut self) {
        // Taken apart, so that a new count can't be forgotten here: the compiler asks for it.
        let Self {
            delivered,
            repeated,
            reordered,
            gaps,
            acknowledged,
            refused,
            accepted,
            delivery,
            acknowledgement,
        } = self;
        accepted.clear();
        for count in [delivered, repeated, reordered, gaps, acknowledged, refused] {
            *count = 0;
        }
        delivery.reset();
        acknowledgement.reset();
    }

    fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.gaps += other.gaps;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.accepted.extend_from_slice(&other.accepted);
        let same = "invariant: all histograms have the same bounds";
        self.delivery.add(&other.delivery).expect(same);
        self.acknowledgement
            .add(&other.acknowledgement)
            .expect(same);
    }
}

/// The measurement under way. A message counts if it was due within its time, whenever the answer comes: so the first and
/// the last messages of a measurement are treated alike.
///
/// `begin` and `end` are read for each message by all threads, so they are atomic and not locked.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    /// The first microsecond that counts.
    begin: AtomicU64,
    /// The first microsecond that counts no more.
    end: AtomicU64,
    /// Whether acknowledged messages are kept one by one.
    names: bool,
    /// One for each thread that counts; a thread keeps its own and never looks at the others.
    tallies: Mutex<Vec<Arc<Mutex<Tally>>>>,
}

impl Stage {
    /// Returns a stage on which nothing counts until [`Stage::set`].
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            // No time reaches this, so nothing counts before the first measurement.
            begin: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(u64::MAX),
            names: false,
            tallies: Mutex::default(),
        }
    }

    /// Returns a stage as [`Stage::new`] does, which also keeps channel and number of each acknowledged message.
    pub(crate) fn with_names(clock: Clock) -> Self {
        Self {
            names: true,
            ..Self::new(clock)
        }
    }

    /// Returns whether acknowledged messages are kept by name.
    pub(crate) const fn names(&self) -> bool {
        self.names
    }

    /// Returns a new tally for one thread; it counts towards the sum.
    pub(crate) fn tally(&self) -> Arc<Mutex<Tally>> {
        let tally = Arc::new(Mutex::new(Tally::new()));
        lock(&self.tallies).push(Arc::clone(&tally));
        tally
    }

    /// Begins a measurement from `begin` to `end`, in microseconds of the clock, and sets all counts to 0.
    ///
    /// Answers that come later for an earlier measurement are not counted: their messages were due
    /// before `begin`.
    pub(crate) fn set(&self, begin: u64, end: u64) {
        self.begin.store(begin, Ordering::SeqCst);
        self.end.store(end, Ordering::SeqCst);
        // Times before counts: an old message that comes between the two is already out of the
        // measurement.
        for tally in &*lock(&self.tallies) {
            lock(tally).clear();
        }
    }

    /// Returns whether a message counts that was due then.
    pub(crate) fn counts(&self, due: u64) -> bool {
        due >= self.begin.load(Ordering::Relaxed) && due < self.end.load(Ordering::Relaxed)
    }

    /// Returns when the measurement ends, in microseconds of the clock.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Returns the sum of what all threads have counted so far.
    ///
    /// The threads go on counting meanwhile, so two sums of one moment may differ.
    pub(crate) fn look(&self) -> Tally {
        let mut sum = Tally::new();
        for tally in &*lock(&self.tallies) {
            sum.add(&lock(tally));
        }
        sum
    }
}

/// Returns what is kept of a histogram: the percentiles to three digits, and buckets to two, so that a file stays small.
/// A histogram without values gives the default, with no percentiles that could be taken for 0 µs.
pub(crate) fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    for value in histogram.iter_recorded() {
        // Several values fall on one rounded bucket; they come in ascending order.
        let (at, count) = (rounded(value.value_iterated_to()), value.count_at_value());
        match buckets.last_mut() {
            Some((last, many)) if *last == at => *many += count,
            _ => buckets.push((at, count)),
        }
    }
    Latency {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
        buckets,
    }
}

/// Rounds up to two digits: a time is never shown shorter than it was.
///
/// 99 stays 99, 101 becomes 110.
fn rounded(value: u64) -> u64 {
    let mut scale = 1;
    while value / scale >= 100 {
        scale *= 10;
    }
    value.div_ceil(scale) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_histogram_to_two_digits() {
        let mut histogram = histogram();
        for value in [7, 99, 101, 104, 1_999, 25_000] {
            histogram.record(value).unwrap();
        }
        let kept = latency(&histogram);
        // The histogram keeps three digits, so 25,000 is found as the top of its bucket.
        assert_eq!((kept.count, kept.max), (6, 25_007));
        // 101 and 104 fall into one bucket.
        assert_eq!(kept.buckets[..3], [(7, 1), (99, 1), (110, 2)]);
        assert_eq!(kept.buckets.iter().map(|(_, count)| count).sum::<u64>(), 6);
        assert_eq!(latency(&super::histogram()), Latency::default());
    }
}
