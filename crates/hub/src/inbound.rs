//! What all clients together have begun to send, but not finished.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of unfinished messages and request bodies, with a limit: each client's own is small, but there are many clients.
#[derive(Debug)]
pub struct InboundBytes {
    used: AtomicUsize,
    most: usize,
}

impl InboundBytes {
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

    /// Gives back what was taken.
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
