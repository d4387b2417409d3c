//! Finds out whether the log is still the one that was read. A broker that comes back with an older
//! copy of its data, grown again since, shows neither a smaller end nor another name; but the last
//! message that was read is no longer in its place.
//!
//! The looking goes on beside the pump, which must not stand still for it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use hubplane_backplane::{Backplane, Channel, ErrorKind, Position, Publication, Start};
use tokio::time::{Instant, sleep};

use super::Pump;

/// How long the look is tried again while the broker doesn't answer yet.
const TRY: Duration = Duration::from_secs(10);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// The last message that was read of a lane, as the mark by which the log is recognised.
#[derive(Clone, Debug)]
pub(super) struct TailFingerprint {
    /// The position of the message before it, after which it is read again.
    after: Position,
    channel: Channel,
    data: Bytes,
}

impl TailFingerprint {
    /// Takes a message as the mark; `after` is the position of the one before it.
    pub(super) fn new(after: Position, publication: &Publication) -> Self {
        Self {
            after,
            channel: Arc::clone(&publication.channel),
            data: publication.data.clone(),
        }
    }

    /// Returns true if this is the message, by its channel and its data.
    fn is(&self, publication: &Publication) -> bool {
        publication.channel == self.channel && publication.data == self.data
    }

    /// Returns whether the message is still in its place; `None` if nobody can tell any more.
    async fn is_there(&self, backplane: &dyn Backplane) -> Option<bool> {
        let history = backplane.history()?;
        let end = Instant::now() + TRY;
        loop {
            let place = Start::After(self.after);
            match history.scan(self.after.lane, place, 1).await {
                Ok(page) => return Some(page.publications.first().is_some_and(|it| self.is(it))),
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < end => {
                    sleep(PAUSE).await;
                }
                // The place is no longer in the log. The backend sees that itself, and announces it
                // if it matters.
                Err(_) => return None,
            }
        }
    }
}

impl Pump<'_> {
    /// The broker is back: looks whether the last messages that were read are still in their places, beside what goes on.
    pub(super) fn verify_tails(&mut self) {
        self.verifying.abort_all();
        let tails = self.reads.tails().to_vec();
        if tails.is_empty() || self.hub.backplane().history().is_none() {
            return;
        }
        let reads = &self.hub.counts().history_reads;
        reads.fetch_add(tails.len() as u64, Ordering::Relaxed);
        let backplane = Arc::clone(self.hub.backplane());
        self.verifying.spawn(async move {
            let mut gone = Vec::new();
            for tail in tails {
                if tail.is_there(&*backplane).await == Some(false) {
                    gone.push(tail.after);
                }
            }
            gone
        });
    }

    /// Begins a new generation of the lanes whose places hold something else than what was read
    /// there.
    pub(super) async fn on_verified(&mut self, places: Vec<Position>) {
        for lane in self.reads.verified(&places) {
            tracing::warn!(lane, "the log was rolled back and has grown again");
            self.replace(lane, None).await;
        }
    }
}
