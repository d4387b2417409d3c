//! Whether the stream keeps what the address says. AMQP doesn't tell which policies apply, nor when
//! a message was written; so it is remembered how far the stream was at which time, and now and
//! then compared with the oldest message.
//!
//! Only for a warning: a policy is the operator's choice, and what it costs is told to clients as
//! lost positions. Pure but for the clock and the log.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::config::Config;

/// How often this is checked, besides at each connection.
pub(crate) const EVERY: Duration = Duration::from_secs(60);
/// Looks that are remembered: one a minute for a day.
const MOST: usize = 1_440;
/// Bytes that the broker adds to a message's data, at most.
const OVERHEAD: u64 = 1_024;

/// How far the stream was at some time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// The offset that came next.
    next: u64,
    /// Bytes read up to then.
    bytes: u64,
}

/// What is remembered of one log.
#[derive(Debug)]
pub(crate) struct Retained {
    samples: VecDeque<Sample>,
    /// Bytes read so far, with what the broker adds to each message.
    bytes: u64,
    /// Whether the warning was given; once for each log.
    warned: bool,
    /// When to look again.
    pub(crate) due: Instant,
}

impl Retained {
    /// Begins to remember, at the offset that comes next.
    pub(crate) fn new(next: u64) -> Self {
        let mut this = Self {
            samples: VecDeque::new(),
            bytes: 0,
            warned: false,
            due: Instant::now() + EVERY,
        };
        this.remember(Instant::now(), next);
        this
    }

    /// Notes that a message with so many bytes of data was read.
    pub(crate) fn read(&mut self, data: usize) {
        self.bytes += data as u64 + OVERHEAD;
    }

    /// Forgets everything: the log is another one.
    pub(crate) fn replaced(&mut self, next: u64) {
        *self = Self::new(next);
    }

    /// Compares the stream with what is remembered: `first` is the offset of its oldest message,
    /// `next` the one that comes next. Warns, once, if a message is gone that is neither as old nor
    /// as far behind as the address allows.
    pub(crate) fn look(&mut self, first: u64, next: u64, config: &Config) {
        let now = Instant::now();
        self.due = now + EVERY;
        if self.is_short(now, first, config) && !self.warned {
            self.warned = true;
            tracing::warn!(
                stream = super::log::name(config),
                "a policy of RabbitMQ (max-age or max-length-bytes) makes the stream forget sooner than the address says: \
                 clients that come back later than that are told that their position is lost; exempt queues named \
                 hubplane.* from the policy"
            );
        }
        self.remember(now, next);
    }

    /// Returns true if the stream has forgotten something too early.
    fn is_short(&self, now: Instant, first: u64, config: &Config) -> bool {
        let Some(retention) = &config.retention else {
            return false;
        };
        // The broker forgets by whole files.
        let kept = config.max_bytes.saturating_sub(retention.segment_bytes);
        // The last time at which all messages up to then, and some later ones, are gone now.
        let gone = self.samples.iter().rfind(|sample| sample.next < first);
        gone.is_some_and(|gone| now - gone.at < retention.max_age && self.bytes - gone.bytes < kept)
    }

    /// Remembers how far the stream is now; forgets the oldest look if there are too many.
    fn remember(&mut self, at: Instant, next: u64) {
        if self.samples.len() == MOST {
            self.samples.pop_front();
        }
        let bytes = self.bytes;
        self.samples.push_back(Sample { at, next, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keys: &str) -> Config {
        let address = format!("amqp+streams://h?{keys}");
        Config::read(&address.parse().unwrap()).unwrap()
    }

    fn short(keys: &str, messages: u64, first: u64) -> bool {
        let mut retained = Retained::new(100);
        (0..messages).for_each(|_| retained.read(0));
        retained.is_short(
            Instant::now() + Duration::from_secs(10),
            first,
            &config(keys),
        )
    }

    #[test]
    fn only_what_is_gone_too_soon_is_short() {
        assert!(
            !short("", 50, 90),
            "what was there before the start says nothing"
        );
        assert!(!short("", 50, 100));
        assert!(short("", 50, 120));
        assert!(!short("max-age=5s", 50, 120), "old enough");
        assert!(
            !short("max-bytes=60000&segment-bytes=10000", 60, 120),
            "far enough behind"
        );
    }
}
