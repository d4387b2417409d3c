//! What this instance knows of what has been published: the recent messages, the ids, the numbers, the generations.
//!
//! The pump writes it; shards, the publisher and HTTP requests read. Each part has a lock of its own that is held for a
//! lookup and never across an await.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{epochs::Epochs, ids::Ids, ledger::Ledger, window::Window};
use crate::limits::Limits;

/// The parts.
#[derive(Debug)]
pub(super) struct Log {
    window: Mutex<Window>,
    ids: Mutex<Ids>,
    ledger: Mutex<Ledger>,
    epochs: Mutex<Epochs>,
}

impl Log {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            window: Mutex::new(Window::new(limits.window_bytes, limits.window_age)),
            ids: Mutex::new(Ids::new(limits.id_memory, Instant::now())),
            ledger: Mutex::default(),
            epochs: Mutex::default(),
        }
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epochs(&self) -> MutexGuard<'_, Epochs> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
