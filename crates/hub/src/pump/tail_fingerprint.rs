//! Whether the log is still the one that was read. A broker that comes back with an older copy of its data, grown again
//! since, shows neither a smaller end nor another name; but the last message that was read is no longer in its place.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use hubplane_backplane::{Backplane, Channel, ErrorKind, Position, Publication, Start};
use tokio::time::{Instant, sleep};

use super::Pump;

/// How long it is tried to look, where the broker doesn't answer yet.
const TRY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// The last message that was read of a lane.
#[derive(Clone, Debug)]
pub(super) struct TailFingerprint {
    /// Where the message before it ends.
    after: Position,
    channel: Channel,
    data: Bytes,
}

impl TailFingerprint {
    pub(super) fn new(after: Position, publication: &Publication) -> Self {
        Self {
            after,
            channel: Arc::clone(&publication.channel),
            data: publication.data.clone(),
        }
    }

    fn is(&self, publication: &Publication) -> bool {
        publication.channel == self.channel && publication.data == self.data
    }

    /// Whether it is in its place; `None` if nobody can tell any more.
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
                // The place is cut off, which the backend sees and says where it matters.
                Err(_) => return None,
            }
        }
    }
}

impl Pump<'_> {
    /// The broker is away. Only what was read before can tell whether the log is the same; what comes now may be of
    /// another one.
    pub(super) fn remember_tails(&mut self) {
        if self.tails.is_empty() {
            let tails = self.lanes.values().filter_map(|it| it.tail.clone());
            self.tails.extend(tails);
        }
    }

    /// The broker is back: looks whether the last messages that were read are still in their places, beside what goes on.
    pub(super) fn verify_tails(&mut self) {
        self.verifying.abort_all();
        let tails = self.tails.clone();
        if tails.is_empty() || self.hub.backplane.history().is_none() {
            return;
        }
        let reads = &self.hub.counts.history_reads;
        reads.fetch_add(tails.len() as u64, Ordering::Relaxed);
        let backplane = Arc::clone(&self.hub.backplane);
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

    /// All places were looked at; these hold something else than what was read there.
    pub(super) async fn on_verified(&mut self, places: Vec<Position>) {
        self.tails.clear();
        for place in places {
            let read = self.lanes.get_mut(&place.lane);
            // Otherwise the backend has seen it, too.
            if let Some(read) = read.filter(|read| read.at.epoch == place.epoch) {
                read.tail = None;
                tracing::warn!(
                    lane = place.lane,
                    "the log was rolled back and has grown again"
                );
                self.replace(place.lane, None).await;
            }
        }
    }
}
