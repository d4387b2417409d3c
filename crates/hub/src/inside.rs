//! The window by itself, for the benchmarks in `bench/`. It is no interface: it may change at any
//! time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    frame::Encoded,
    position::{ClientPosition, Fingerprint},
    window::{Placements, ReadLimit, Window, WindowRead},
};

/// Returns a position in the first lane.
pub const fn position(epoch: u64, offset: u128) -> ClientPosition {
    ClientPosition {
        epoch,
        lane: 0,
        offset,
        fingerprint: Some(Fingerprint::ANY),
    }
}

/// A window on its own, with a limit in bytes and an age of one hour.
#[derive(Debug)]
pub struct Kept(Window);

impl Kept {
    /// Returns an empty window for messages after this position.
    pub fn new(most_bytes: usize, after: ClientPosition) -> Self {
        let mut window = Window::new(most_bytes, Duration::from_secs(3_600), Placements::new(0));
        window.begin(after);
        Self(window)
    }

    /// Takes in a batch and drops what is over the limit.
    pub fn push(&mut self, batch: &Arc<Vec<Encoded>>, now: Instant) {
        self.0.push(batch, now);
    }

    /// Returns how many messages a channel had after this position, `None` if the window doesn't
    /// know.
    pub fn read(&self, channel: &str, after: ClientPosition) -> Option<usize> {
        // The benchmarks time the reading, not the limit.
        let cap = ReadLimit {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        match self.0.read(channel, after, None, cap) {
            WindowRead::All(entries) => Some(entries.len()),
            WindowRead::TooMany | WindowRead::Older | WindowRead::Lost => None,
        }
    }
}
