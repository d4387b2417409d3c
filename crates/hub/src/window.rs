//! The recent part of the log in memory, indexed by channel: a client that comes back, to whichever instance, gets
//! what it missed from here, and the broker is not asked. Bounded by bytes and by age.
//!
//! Positions here are those that clients are given.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

use super::{
    frame::{Encoded, Frame},
    message::Message,
    position::ClientPosition,
};

/// What an entry costs besides its message: its records here, and the heads of its frames.
const OVERHEAD: usize = 480;

/// One message of a window.
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

    /// Where it is.
    pub(super) fn position(&self) -> ClientPosition {
        let position = self.encoded().message().position;
        position.expect("invariant: only messages with a position are kept")
    }

    /// Bytes: the message, and once more for its frame.
    fn weight(&self) -> usize {
        weight(self.encoded().message())
    }
}

/// What a message costs here.
fn weight(message: &Message) -> usize {
    OVERHEAD + message.channel.len() + 2 * message.data.len()
}

/// What the window knows of a stretch of a channel.
#[derive(Debug)]
pub(super) enum WindowRead {
    /// All of it, oldest first.
    All(Vec<WindowEntry>),
    /// More than was asked for.
    TooMany,
    /// It begins before the window does.
    Older,
    /// It is of another log.
    Lost,
}

/// How much one read may give.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLimit {
    /// Messages.
    pub(super) messages: usize,
    /// Bytes of their data.
    pub(super) bytes: usize,
}

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    most_bytes: usize,
    most_age: Duration,
    bytes: usize,
    lanes: HashMap<u32, Lane>,
    channels: HashMap<Channel, VecDeque<WindowEntry>>,
    /// The channels of all entries, oldest first.
    order: VecDeque<(Instant, Channel)>,
}

/// A lane's stretch: everything after `start` and up to `head` is here; nothing, while `start` is behind `head`.
#[derive(Clone, Copy, Debug)]
struct Lane {
    epoch: u64,
    start: u128,
    head: u128,
}

impl Window {
    pub(super) fn new(most_bytes: usize, most_age: Duration) -> Self {
        Self {
            most_bytes,
            most_age,
            bytes: 0,
            lanes: HashMap::new(),
            channels: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// More messages than this don't fit, however small they are.
    pub(super) const fn most_messages(&self) -> usize {
        self.most_bytes / OVERHEAD
    }

    /// Bytes and messages that are kept.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes, self.order.len())
    }

    /// A lane begins anew after this position: what was kept of it is gone.
    pub(super) fn begin(&mut self, position: ClientPosition) {
        let ClientPosition {
            epoch,
            lane,
            offset,
        } = position;
        let fresh = Lane {
            epoch,
            start: offset,
            head: offset,
        };
        if self.lanes.insert(lane, fresh).is_some() {
            self.drop_lane(lane);
        }
    }

    /// Something after this position may have been missed: what was kept of the lane is gone, and who stands just there
    /// has missed it, too.
    pub(super) fn break_off(&mut self, position: ClientPosition) {
        self.begin(position);
        if let Some(lane) = self.lanes.get_mut(&position.lane) {
            lane.start = position.offset.saturating_add(1);
        }
    }

    fn drop_lane(&mut self, lane: u32) {
        let mut bytes = 0;
        let mut gone: HashMap<Channel, usize> = HashMap::new();
        // All messages of a channel are in one lane.
        self.channels.retain(|channel, entries| {
            let concerned = entries
                .front()
                .is_some_and(|entry| entry.position().lane == lane);
            if concerned {
                bytes += entries.iter().map(WindowEntry::weight).sum::<usize>();
                gone.insert(Channel::clone(channel), entries.len());
            }
            !concerned
        });
        self.bytes -= bytes;
        self.order
            .retain(|(_, channel)| !gone.contains_key(channel));
    }

    /// Takes in the batch's messages that have a position, in their order. A lane that was not begun is not kept.
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
            lane.head = lane.head.max(position.offset);
            let entry = WindowEntry::new(Arc::clone(batch), index as u32);
            self.bytes += entry.weight();
            let channel = match self.channels.get_key_value(&message.channel) {
                Some((known, _)) => Channel::clone(known),
                None => Channel::clone(&message.channel),
            };
            self.order.push_back((now, Channel::clone(&channel)));
            self.channels.entry(channel).or_default().push_back(entry);
        }
        self.trim(now);
    }

    /// A lane has come this far, with nothing more for anybody.
    pub(super) fn advance(&mut self, position: ClientPosition) {
        if let Some(lane) = self.lanes.get_mut(&position.lane)
            && lane.epoch == position.epoch
        {
            lane.head = lane.head.max(position.offset);
        }
    }

    /// Drops what is over the limits.
    pub(super) fn trim(&mut self, now: Instant) {
        while let Some((at, _)) = self.order.front() {
            let old = now.saturating_duration_since(*at) > self.most_age;
            if !old && self.bytes <= self.most_bytes {
                return;
            }
            let Some((_, channel)) = self.order.pop_front() else {
                return;
            };
            let Some(entries) = self.channels.get_mut(&channel) else {
                continue;
            };
            if let Some(entry) = entries.pop_front() {
                self.bytes -= entry.weight();
                let position = entry.position();
                if let Some(lane) = self.lanes.get_mut(&position.lane) {
                    lane.start = lane.start.max(position.offset);
                }
            }
            if entries.is_empty() {
                self.channels.remove(&channel);
            }
        }
    }

    /// How far a lane has come.
    pub(super) fn head(&self, lane: u32) -> Option<ClientPosition> {
        let of = self.lanes.get(&lane)?;
        Some(ClientPosition {
            epoch: of.epoch,
            lane,
            offset: of.head,
        })
    }

    /// Whether everything after this position is here.
    pub(super) fn reaches_back_to(&self, position: ClientPosition) -> bool {
        let lane = self.lanes.get(&position.lane);
        lane.is_some_and(|it| it.epoch == position.epoch && it.start <= position.offset)
    }

    /// What a channel had after `after` and up to `upto`.
    pub(super) fn read(
        &self,
        channel: &str,
        after: ClientPosition,
        upto: Option<ClientPosition>,
        cap: ReadLimit,
    ) -> WindowRead {
        let Some(lane) = self.lanes.get(&after.lane) else {
            return WindowRead::Lost;
        };
        let upto = upto.map_or(lane.head, |upto| upto.offset);
        if after.epoch != lane.epoch || after.offset > upto {
            return WindowRead::Lost;
        }
        if after.offset < lane.start {
            return WindowRead::Older;
        }
        let Some(entries) = self.channels.get(channel) else {
            return WindowRead::All(Vec::new());
        };
        let begin = entries.partition_point(|entry| entry.position().offset <= after.offset);
        let end = entries.partition_point(|entry| entry.position().offset <= upto);
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

impl WindowEntry {
    /// The message's frame in one encoding.
    pub(super) fn frame(
        &self,
        encoding: &dyn super::frame::Encoding,
        panicked: impl FnOnce(),
    ) -> Frame {
        self.encoded().frame(encoding, panicked).clone()
    }
}

#[cfg(test)]
mod tests;
