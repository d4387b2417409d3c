//! What this instance knows of what has been published: the recent messages, the ids, the numbers,
//! the generations.
//!
//! The pump writes it; shards, the publisher and HTTP requests read it. Each part has a lock of its
//! own, which is held for a single look and never across an await.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hubplane_backplane::{Position, Publication};

use super::{
    dedup_cache::DedupCache,
    gap_detector::GapDetector,
    generations::Generations,
    message::{Message, is_id},
    position::{ClientPosition, Fingerprint},
    window::{Placements, Window},
};
use crate::limits::Limits;

/// The parts, each behind its own lock.
#[derive(Debug)]
pub(super) struct Log {
    /// The recent messages.
    window: Mutex<Window>,
    /// The ids of the last minutes.
    dedup_cache: Mutex<DedupCache>,
    /// The numbers of all origins.
    gap_detector: Mutex<GapDetector>,
    /// The generations of the lanes.
    generations: Mutex<Generations>,
}

impl Log {
    /// An empty log within these limits.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            window: Mutex::new(Window::new(
                limits.window_bytes,
                limits.window_age,
                Placements::new(limits.window_channels),
            )),
            dedup_cache: Mutex::new(DedupCache::new(
                limits.id_memory,
                limits.id_entries,
                Instant::now(),
            )),
            gap_detector: Mutex::default(),
            generations: Mutex::default(),
        }
    }

    /// Converts a backend's position into a client's, where no message is known to be.
    pub(super) fn to_client(&self, position: Position) -> ClientPosition {
        self.generations().to_client(position, None)
    }

    /// Converts the place of a message into a client's position, by which the message is recognised
    /// later.
    pub(super) fn place(&self, position: Position, fingerprint: Fingerprint) -> ClientPosition {
        self.generations().to_client(position, Some(fingerprint))
    }

    /// Converts a client's position into the backend's.
    pub(super) fn to_backend(&self, position: ClientPosition) -> Position {
        self.generations().to_backend(position)
    }

    /// Turns a new message into what clients know. Returns `None` if it repeats one that was here
    /// before.
    pub(super) fn arrived(
        &self,
        publication: Publication,
        fingerprint: Fingerprint,
        now: Instant,
    ) -> Option<Message> {
        let message = self.message(publication, fingerprint);
        let repeated = self.dedup_cache().is_repeated(&message, now);
        (!repeated).then(|| named(message))
    }

    /// Turns a message that was read back into what clients know. Returns `None` if it repeats an
    /// earlier one.
    pub(super) fn read_back(&self, publication: Publication) -> Option<Message> {
        let fingerprint = Fingerprint::of_publication(&publication);
        let message = self.message(publication, fingerprint);
        let repeats = self.dedup_cache().repeats_earlier(&message);
        (!repeats).then(|| named(message))
    }

    /// Turns a message into what clients know, whether or not it was here before.
    fn message(&self, publication: Publication, fingerprint: Fingerprint) -> Message {
        let position = publication.position;
        let position = position.map(|position| self.place(position, fingerprint));
        let Publication {
            channel,
            data,
            position: _,
            id,
            origin,
            tags,
        } = publication;
        Message {
            channel,
            data,
            position,
            // Another program's headers may say anything. What is not an allowed id is dropped, so
            // it can't make a message look like a repetition.
            id: id.filter(|id| is_id(id)),
            origin,
            tags,
        }
    }

    /// Locks the window.
    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the ids.
    pub(super) fn dedup_cache(&self) -> MutexGuard<'_, DedupCache> {
        self.dedup_cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the numbers.
    pub(super) fn gap_detector(&self) -> MutexGuard<'_, GapDetector> {
        self.gap_detector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the generations.
    pub(super) fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a message by its number if a hub published it without an id.
fn named(mut message: Message) -> Message {
    if message.id.is_none() {
        message.id = message.origin.map(|origin| origin.text().as_str().into());
    }
    message
}
