//! What this instance knows of what has been published: the recent messages, the ids, the numbers, the generations.
//!
//! The pump writes it; shards, the publisher and HTTP requests read. Each part has a lock of its own that is held for a
//! lookup and never across an await.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    dedup_cache::DedupCache, gap_detector::GapDetector, generations::Generations, window::Window,
};
use crate::limits::Limits;

/// The parts.
#[derive(Debug)]
pub(super) struct Log {
    window: Mutex<Window>,
    dedup_cache: Mutex<DedupCache>,
    gap_detector: Mutex<GapDetector>,
    generations: Mutex<Generations>,
}

impl Log {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            window: Mutex::new(Window::new(limits.window_bytes, limits.window_age)),
            dedup_cache: Mutex::new(DedupCache::new(limits.id_memory, Instant::now())),
            gap_detector: Mutex::default(),
            generations: Mutex::default(),
        }
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dedup_cache(&self) -> MutexGuard<'_, DedupCache> {
        self.dedup_cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gap_detector(&self) -> MutexGuard<'_, GapDetector> {
        self.gap_detector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
