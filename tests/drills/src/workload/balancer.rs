//! Which hub a connection goes to: each in turn, and the next one where one refuses. It chooses and carries nothing,
//! so that it takes no time from the hubs.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The hubs behind one name.
#[derive(Debug)]
pub(crate) struct Balancer {
    hubs: Vec<(String, SocketAddr)>,
    /// Counts connections; the remainder is the hub.
    next: AtomicUsize,
}

impl Balancer {
    pub(crate) fn new(hubs: Vec<(String, SocketAddr)>) -> Self {
        Self {
            hubs,
            next: AtomicUsize::new(0),
        }
    }

    /// The next in turn: call again when it refuses.
    pub(crate) fn next(&self) -> (&str, SocketAddr) {
        self.at(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The hub of a number, whatever it is.
    pub(crate) fn at(&self, number: usize) -> (&str, SocketAddr) {
        let (name, address) = &self.hubs[number % self.hubs.len()];
        (name, *address)
    }
}
