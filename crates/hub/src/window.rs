//! The recent part of the log in memory, indexed by lane and channel: a client that comes back, to
//! whichever instance, gets what it missed from here without a question to the broker. Bounded by
//! bytes and age. Pure.
//!
//! Whatever the window gives must be whole: where anything may be missing, the lane begins anew
//! behind it. Positions here are those that clients are given.

mod lane;
mod placements;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

use self::lane::Lane;
pub(super) use self::placements::Placements;
use super::{
    frame::{Encoded, Frame},
    map::HashMap,
    message::Message,
    position::ClientPosition,
};

/// Bytes that an entry costs besides its message: its records here, and the heads of its frames.
const OVERHEAD: usize = 576;
/// Bytes that a fingerprint costs whose message is not kept.
const MARK: usize = 96;
/// Bytes that a tag costs besides its text.
const TAG: usize = 64;

/// One message of a window. Cheap to clone: the batch is shared.
#[derive(Clone, Debug)]
pub(super) struct WindowEntry {
    batch: Arc<Vec<Encoded>>,
    index: u32,
}

impl WindowEntry {
    /// One message of a batch.
    pub(super) const fn new(batch: Arc<Vec<Encoded>>, index: u32) -> Self {
        Self { batch, index }
    }

    /// The message with its frames.
    pub(super) fn encoded(&self) -> &Encoded {
        &self.batch[self.index as usize]
    }

    /// The message's position.
    pub(super) fn position(&self) -> ClientPosition {
        let position = self.encoded().message().position;
        position.expect("invariant: only messages with a position are kept")
    }

    /// The message's frame in one encoding.
    pub(super) fn frame(
        &self,
        encoding: &'static super::frame::Encoding,
        panicked: impl FnOnce(),
    ) -> Frame {
        self.encoded().frame(encoding, panicked).clone()
    }
}

/// Returns the bytes that are kept for a message: all that it consists of, and its data once more
/// for its frame.
fn weight(message: &Message) -> usize {
    let tags = message.tags.iter();
    let tags = tags.map(|(name, value)| TAG + name.len() + value.len());
    let id = message.id.as_ref().map_or(0, |id| id.len());
    OVERHEAD + message.channel.len() + 2 * (message.data.len() + id) + tags.sum::<usize>()
}

/// What the window knows of a stretch of a channel. Only [`WindowRead::All`] may be given to a
/// client.
#[derive(Debug)]
pub(super) enum WindowRead {
    /// All messages of it, oldest first.
    All(Vec<WindowEntry>),
    /// More than was allowed.
    TooMany,
    /// It begins before the window does, so only the log can tell.
    Older,
    /// It is of another log. Or the channel has messages in another lane, too, and nobody can tell
    /// which of those a client in this lane has seen.
    Lost,
}

/// How much one read may give. Beyond it, a client fetches the state again.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLimit {
    /// Messages.
    pub(super) messages: usize,
    /// Bytes of their data.
    pub(super) bytes: usize,
}

/// The window: the recent messages of all lanes, within its limits.
#[derive(Debug)]
pub(super) struct Window {
    most_bytes: usize,
    most_age: Duration,
    bytes: usize,
    messages: usize,
    placements: Placements,
    lanes: HashMap<u32, Lane>,
    /// Everything that is kept, in the order in which it came.
    order: VecDeque<Kept>,
}

/// One thing that is kept, for the order in which things are dropped.
#[derive(Debug)]
struct Kept {
    since: Instant,
    lane: u32,
    offset: u128,
    bytes: usize,
    /// The message's channel. `None` if only its fingerprint is kept.
    channel: Option<Channel>,
}

impl Window {
    pub(super) fn new(most_bytes: usize, most_age: Duration, placements: Placements) -> Self {
        Self {
            most_bytes,
            most_age,
            bytes: 0,
            messages: 0,
            placements,
            lanes: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// Returns how many messages fit at most, however small they are.
    pub(super) const fn most_messages(&self) -> usize {
        self.most_bytes / OVERHEAD
    }

    /// Returns the bytes and the messages that are kept.
    pub(super) const fn size(&self) -> (usize, usize) {
        (self.bytes, self.messages)
    }

    /// Begins a lane anew after this position. What was kept of it is gone.
    pub(super) fn begin(&mut self, position: ClientPosition) {
        let fresh = Lane::new(position);
        if self.lanes.insert(position.lane, fresh).is_none() {
            return;
        }
        self.order.retain(|kept| {
            if kept.lane == position.lane {
                self.bytes -= kept.bytes;
                self.messages -= usize::from(kept.channel.is_some());
            }
            kept.lane != position.lane
        });
    }

    /// Begins a lane anew because something after this position may have been missed. A client that
    /// stands just there has missed it, too, so it is sent to the log.
    pub(super) fn break_off(&mut self, position: ClientPosition) {
        self.begin(position);
        if let Some(lane) = self.lanes.get_mut(&position.lane) {
            lane.start = position.offset.saturating_add(1);
        }
    }

    /// Keeps the batch's messages that have a position, in their order. A lane that was not begun
    /// is not kept.
    pub(super) fn push(&mut self, batch: &Arc<Vec<Encoded>>, now: Instant) {
        for (index, encoded) in batch.iter().enumerate() {
            let message = encoded.message();
            let Some(position) = message.position else {
                continue;
            };
            let lane = self.lanes.get_mut(&position.lane);
            let Some(lane) = lane.filter(|lane| lane.epoch == position.epoch) else {
                continue;
            };
            lane.pass(position);
            let entry = WindowEntry::new(Arc::clone(batch), index as u32);
            let channel = match lane.channels.get_key_value(&message.channel) {
                Some((known, _)) => Channel::clone(known),
                None => Channel::clone(&message.channel),
            };
            let bytes = weight(message);
            self.bytes += bytes;
            self.messages += 1;
            self.order.push_back(Kept {
                since: now,
                lane: position.lane,
                offset: position.offset,
                bytes,
                channel: Some(Channel::clone(&channel)),
            });
            lane.channels.entry(channel).or_default().push_back(entry);
        }
        self.trim(now);
    }

    /// Notes that a lane has come this far. Returns true if this is the place of a message that was
    /// not pushed: one that no client gets, whose fingerprint is kept.
    pub(super) fn advance(&mut self, position: ClientPosition, now: Instant) -> bool {
        let lane = self.lanes.get_mut(&position.lane);
        let Some(lane) = lane.filter(|lane| lane.epoch == position.epoch) else {
            return false;
        };
        let new = lane.pass(position);
        if new {
            self.bytes += MARK;
            self.order.push_back(Kept {
                since: now,
                lane: position.lane,
                offset: position.offset,
                bytes: MARK,
                channel: None,
            });
        }
        new
    }

    /// Drops what is too old; to be called now and then, since a quiet lane pushes nothing.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.trim(now);
        // Hubs read different lanes at different speeds, by less than the age of a window: what a client at another hub
        // may have passed in this lane before it got something from the other is still in the window.
        self.placements.sweep(now, 2 * self.most_age);
    }

    /// Drops what is over the limits, oldest first.
    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let old = now.saturating_duration_since(oldest.since) > self.most_age;
            if !old && self.bytes <= self.most_bytes {
                return;
            }
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes;
            let Some(lane) = self.lanes.get_mut(&oldest.lane) else {
                continue;
            };
            lane.forget_to(oldest.offset);
            let Some(channel) = oldest.channel else {
                continue;
            };
            self.messages -= 1;
            if let Some(entries) = lane.channels.get_mut(&channel) {
                entries.pop_front();
                if entries.is_empty() {
                    lane.channels.remove(&channel);
                }
            }
        }
    }

    /// Returns how far a lane has come: the place of its last message, by which clients are
    /// recognised.
    pub(super) fn head(&self, lane: u32) -> Option<ClientPosition> {
        let of = self.lanes.get(&lane)?;
        let end = ClientPosition {
            epoch: of.epoch,
            lane,
            offset: of.head,
            fingerprint: None,
        };
        Some(
            of.last(of.head)
                .map_or(end, |(offset, fingerprint)| ClientPosition {
                    offset,
                    fingerprint: Some(fingerprint),
                    ..end
                }),
        )
    }

    /// Returns the place of the last message of a lane up to an offset, `None` if it is not here.
    pub(super) fn place(&self, lane: u32, upto: u128) -> Option<ClientPosition> {
        let of = self.lanes.get(&lane)?;
        let (offset, fingerprint) = of.last(upto)?;
        Some(ClientPosition {
            epoch: of.epoch,
            lane,
            offset,
            fingerprint: Some(fingerprint),
        })
    }

    /// Returns true if everything after this position is here.
    pub(super) fn reaches_back_to(&self, position: ClientPosition) -> bool {
        let lane = self.lanes.get(&position.lane);
        lane.is_some_and(|it| it.epoch == position.epoch && it.start <= position.offset)
    }

    /// Returns which channels have messages in foreign lanes.
    pub(super) const fn placements(&self) -> &Placements {
        &self.placements
    }

    /// Notes in which lane a message has come, and which is its channel's own.
    pub(super) fn place_channel(&mut self, channel: &Channel, lane: u32, own: u32, now: Instant) {
        let lanes = &self.lanes;
        let holds_own = || {
            lanes
                .get(&own)
                .is_some_and(|of| of.channels.contains_key(channel))
        };
        self.placements.note(channel, (lane, own), now, holds_own);
    }

    /// Notes that another hub has seen a message in a foreign lane.
    pub(super) const fn hear_of_foreign(&mut self) {
        self.placements.hear_of_foreign();
    }

    /// Returns true if this is the place of the message that the client means, false if another
    /// message is there, and `None` if only the log can tell.
    pub(super) fn recognises(&self, position: ClientPosition) -> Option<bool> {
        let lane = self.lanes.get(&position.lane)?;
        let there = lane.fingerprint(position.offset)?;
        Some(lane.epoch == position.epoch && position.is_of(there))
    }

    /// Returns what a channel had after a client's position and up to `upto`, or up to the head.
    /// The client's position is checked by its fingerprint first.
    pub(super) fn read(
        &self,
        channel: &str,
        after: ClientPosition,
        upto: Option<ClientPosition>,
        cap: ReadLimit,
    ) -> WindowRead {
        match (
            self.read_on(channel, after, upto, cap),
            self.recognises(after),
        ) {
            (found @ (WindowRead::Lost | WindowRead::Older), _) | (found, Some(true)) => found,
            (_, Some(false)) => WindowRead::Lost,
            // The log may still know the message.
            (_, None) => WindowRead::Older,
        }
    }

    /// Returns what a channel had after a position up to which this hub itself has read the log, so
    /// without the check of [`Self::read`].
    pub(super) fn read_on(
        &self,
        channel: &str,
        after: ClientPosition,
        upto: Option<ClientPosition>,
        cap: ReadLimit,
    ) -> WindowRead {
        let Some(lane) = self.lanes.get(&after.lane) else {
            return WindowRead::Lost;
        };
        // A client that is ahead of this hub may not be given an older past.
        let upto = upto.map_or(lane.head, |upto| upto.offset);
        if after.epoch != lane.epoch || after.offset > upto {
            return WindowRead::Lost;
        }
        if after.offset < lane.start {
            return WindowRead::Older;
        }
        if !self.placements.is_alone(channel, after.lane) {
            return WindowRead::Lost;
        }
        let Some(entries) = lane.channels.get(channel) else {
            return WindowRead::All(Vec::new());
        };
        // Entries are in the order of their offsets.
        let begin = entries.partition_point(|entry| entry.position().offset <= after.offset);
        let end = match upto < lane.head {
            true => entries.partition_point(|entry| entry.position().offset <= upto),
            false => entries.len(),
        };
        if end.saturating_sub(begin) > cap.messages {
            return WindowRead::TooMany;
        }
        let found: Vec<_> = entries.range(begin..end.max(begin)).cloned().collect();
        let bytes = found
            .iter()
            .map(|entry| entry.encoded().message().data.len());
        match bytes.sum::<usize>() > cap.bytes {
            true => WindowRead::TooMany,
            false => WindowRead::All(found),
        }
    }
}

#[cfg(test)]
mod tests;
