//! How old messages are when they arrive.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Latencies in buckets of a twentieth of their size: enough for two digits.
pub(crate) struct Latencies {
    start: Instant,
    buckets: Vec<AtomicU64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            buckets: (0..600).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    pub(crate) fn note(&self, message: &[u8]) {
        let Some(at) = message
            .windows(8)
            .position(|window| window == b"\"data\":\"")
        else {
            return;
        };
        let digits = message[at + 8..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let sent = digits.fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let age = self.now().saturating_sub(sent).max(1) as f64;
        let bucket = (age.ln() / 1.05_f64.ln()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// p50 and p99 in microseconds since the last time.
    pub(crate) fn take(&self) -> (u64, u64) {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.swap(0, Ordering::Relaxed))
            .collect();
        let all: u64 = counts.iter().sum();
        let at = |share: f64| {
            let mut seen = 0;
            let bucket = counts.iter().position(|count| {
                seen += count;
                seen as f64 >= all as f64 * share
            });
            1.05_f64.powi(bucket.unwrap_or_default() as i32) as u64
        };
        (at(0.5), at(0.99))
    }
}
