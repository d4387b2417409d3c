//! From Redis's answers to the hub's events, and how much is asked for next. A part of the reader:
//! it changes lanes, and asks Redis nothing.

use hubplane_backplane::{Event, GapCause, Publication, Result, Scope};

use super::{FEWEST, Reader};
use crate::{
    backend::{BATCH, BATCH_BYTES},
    streams::{
        log::Entry,
        message::{Message, decode},
    },
};

/// Entries of a stream in one answer, at most, and about how many bytes an answer is to have for
/// all streams together.
const MOST: usize = 1_000;
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

impl Reader {
    /// Gives the entries of all streams to the hub. An error says that nobody takes events any
    /// more.
    pub(super) async fn give_all(&mut self, all: Vec<Vec<Entry>>) -> Result<(), ()> {
        self.pace(&all.iter());
        for (index, entries) in all.into_iter().enumerate() {
            self.moved |= !entries.is_empty();
            self.give(index, entries).await?;
        }
        Ok(())
    }

    /// Sets how many entries to ask for next: twice as many after a full answer, as far as the
    /// messages' size allows.
    pub(super) fn pace<'a>(&mut self, all: &(impl Iterator<Item = &'a Vec<Entry>> + Clone)) {
        let entries: usize = all.clone().map(Vec::len).sum();
        if entries == 0 {
            return;
        }
        let bytes: usize = all.clone().flatten().map(Entry::size).sum();
        let fits = ANSWER_BYTES / self.lanes.len() / (bytes / entries).max(1);
        let mut wanted = self.count;
        if all.clone().any(|entries| entries.len() >= self.count) {
            wanted *= 2;
        }
        self.count = wanted.min(fits).clamp(FEWEST, MOST);
    }

    /// Gives one stream's entries to the hub. A lane moves only when its messages are in the queue.
    /// So this may be dropped at any await, and nothing is lost or given twice.
    pub(super) async fn give(&mut self, index: usize, entries: Vec<Entry>) -> Result<(), ()> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let (mut at, mut count) = (self.lanes[index].at, 0);
        for entry in entries {
            bytes += entry.size();
            let position = self.lanes[index].position(entry.id);
            let offset = entry.id;
            match decode(entry, position) {
                Message::Publication(publication) => batch.push(publication),
                Message::Foreign => {}
                Message::Undecodable(channel) => {
                    // What came before the entry that can't be read goes first.
                    self.flush(index, &mut batch, (at, count)).await?;
                    count = 0;
                    let (scope, cause) = (Scope::Channels(vec![channel]), GapCause::Undecodable);
                    self.events
                        .send(Event::Gap { scope, cause })
                        .await
                        .or(Err(()))?;
                }
            }
            (at, count) = (offset, count + 1);
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                self.flush(index, &mut batch, (at, count)).await?;
                (bytes, count) = (0, 0);
            }
        }
        self.flush(index, &mut batch, (at, count)).await
    }

    /// Puts the batch into the queue of events, and moves the lane to `at`, by `count` entries.
    async fn flush(
        &mut self,
        index: usize,
        batch: &mut Vec<Publication>,
        (at, count): (u128, u64),
    ) -> Result<(), ()> {
        if !batch.is_empty() {
            let place = self.events.reserve().await.or(Err(()))?;
            place.send(Event::Published(std::mem::take(batch)));
        }
        let lane = &mut self.lanes[index];
        lane.at = at;
        lane.added += count;
        if count > 0 {
            lane.last = Some(at);
        }
        Ok(())
    }

    /// Tells the hub how far each stream is that has moved, so that it can give out positions on
    /// quiet channels, too.
    pub(super) async fn tell(&mut self) -> Result<(), ()> {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            if lane.told != Some(lane.at) {
                let (at, position) = (lane.at, lane.position(lane.at));
                self.events
                    .send(Event::Progress(position))
                    .await
                    .or(Err(()))?;
                self.lanes[index].told = Some(at);
            }
        }
        Ok(())
    }
}
