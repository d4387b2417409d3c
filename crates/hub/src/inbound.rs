//! What all clients together have begun to send, but not finished. One client's share is small, but
//! there are many clients, so the sum has a limit of its own (`unfinished_bytes`).

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of unfinished messages and request bodies, with their limit. Whoever takes room must give
/// it back.
#[derive(Debug)]
pub struct InboundBytes {
    used: AtomicUsize,
    most: usize,
}

impl InboundBytes {
    /// Nothing yet, of `most` bytes.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            most,
        }
    }

    /// Takes room for more bytes. Returns false if there is none; then nothing is taken.
    pub fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.most);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, more).is_ok()
    }

    /// Gives back bytes that were taken.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let inbound = InboundBytes::new(10);
        assert!(inbound.take(8));
        assert!(!inbound.take(3));
        assert!(inbound.take(2));
        inbound.give_back(10);
        assert!(inbound.take(10));
    }
}
