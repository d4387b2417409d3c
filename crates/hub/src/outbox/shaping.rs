//! Which of the frames that wait may be dropped, for which subscription, and what stands in their
//! place.
//!
//! A frame that may be dropped has a mark in front of it that names its subscription's slot. A
//! dropped frame stays in the queue as empty pieces until it is the first, or until half of the
//! queue is such: so dropping costs the same however much waits, and the queue is never more than
//! twice as long as what is left in it. Places in the queue count all pieces that ever stood in it,
//! so they stay right when the first ones leave. The first frame is never a dropped one.

use std::time::Instant;

use hubplane_backplane::{Channel, GapCause};
use slab::Slab;

use super::{Mark, Of, Offered, Outbox, Piece, pace::Pace};
use crate::{
    command::{Push, Tag},
    frame::{Encoding, Frame},
    limits::Limits,
    max_rate::MaxRate,
    slow::Slow,
};

/// So many pieces of dropped frames are never worth a tidying.
pub(super) const FEW: usize = 64;

/// What an outbox knows of the subscriptions that have a rule or a rate.
#[derive(Debug, Default)]
pub(super) struct Shaping {
    /// The slot of each subscription, by its place in its session's list. Those behind the end have
    /// none.
    by_place: Vec<Option<u32>>,
    slots: Slab<Slot>,
    /// How many pieces have left the queue: the place of its first one.
    pub(super) front: u64,
    /// No message that may be dropped as the oldest is before this place.
    pub(super) searched: u64,
    /// Pieces of dropped frames in the queue.
    pub(super) empty: usize,
    /// How many pieces were looked at or moved for dropping, so that tests can hold it to its cost.
    #[cfg(test)]
    pub(super) steps: u64,
}

/// One subscription with a rule or a rate.
#[derive(Debug)]
pub(crate) struct Slot {
    slow: Slow,
    channel: Channel,
    tag: Option<Tag>,
    /// [`Slow::Latest`]: where its last message stands or stood. [`Slow::DropOldest`]: its last gap.
    place: Option<u64>,
    pace: Option<Pace>,
}

/// What was dropped of a session to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) messages: u64,
    /// The holes that these left, each told by a gap.
    pub(crate) gaps: u64,
}

impl Dropped {
    /// Returns the sum of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            gaps: self.gaps + other.gaps,
        }
    }
}

impl Slot {
    /// Returns the slot of a subscription, `None` if it has neither a rule nor a rate.
    pub(crate) fn new(
        (channel, tag): (&Channel, Option<&Tag>),
        slow: Slow,
        rate: Option<MaxRate>,
    ) -> Option<Self> {
        (slow != Slow::Disconnect || rate.is_some()).then(|| Self {
            slow,
            channel: Channel::clone(channel),
            tag: tag.cloned(),
            place: None,
            pace: rate.map(|rate| Pace::new(rate, Instant::now())),
        })
    }
}

impl Shaping {
    /// Notes that so many pieces have left the queue at its front, and whether that was all.
    pub(super) fn left(&mut self, pieces: usize, all: bool) {
        self.front += pieces as u64;
        if all {
            self.empty = 0;
        }
    }

    /// Notes that the frame of this owner has another place now. The last one of each owner counts.
    pub(super) fn moved(&mut self, of: Of, place: u64) {
        match of {
            Of::Nobody | Of::Dropped => {}
            Of::Gap(slot) => self.slot(slot).place = Some(place),
            Of::Slot(slot) => {
                let it = self.slot(slot);
                if it.slow == Slow::Latest {
                    it.place = Some(place);
                }
            }
        }
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    /// Counts work, in tests only.
    pub(super) fn step(&mut self, pieces: usize) {
        #[cfg(test)]
        {
            self.steps += pieces as u64;
        }
        _ = pieces;
    }
}

impl Outbox {
    /// Gives the subscription at this place of its session's list a slot.
    pub(crate) fn shape(&mut self, at: u32, slot: Slot) {
        let shaping = self.shaping.get_or_insert_default();
        let number = u32::try_from(shaping.slots.insert(slot)).expect("invariant: few slots");
        let least = at as usize + 1;
        if shaping.by_place.len() < least {
            shaping.by_place.resize(least, None);
        }
        shaping.by_place[at as usize] = Some(number);
    }

    /// Returns the slot of the subscription at this place, `None` if it has neither rule nor rate.
    #[inline]
    pub(crate) fn slot(&self, at: u32) -> Option<u32> {
        let shaping = self.shaping.as_ref()?;
        shaping.by_place.get(at as usize).copied().flatten()
    }

    /// Changes the rate of a subscription that has a slot.
    pub(crate) fn set_rate(&mut self, slot: u32, rate: MaxRate) {
        let Some(shaping) = &mut self.shaping else {
            return;
        };
        match &mut shaping.slot(slot).pace {
            Some(pace) => pace.set(rate),
            none => *none = Some(Pace::new(rate, Instant::now())),
        }
    }

    /// Takes the subscription at place `at` out; that at place `last` takes its place. What waits of
    /// it is dropped, since its client wants no more.
    pub(crate) fn unshape(&mut self, at: u32, last: u32) {
        let Some(shaping) = &mut self.shaping else {
            return;
        };
        let of = |place: u32| shaping.by_place.get(place as usize).copied().flatten();
        let (gone, moved) = (of(at), of(last));
        if let Some(place) = shaping.by_place.get_mut(at as usize) {
            *place = moved;
        }
        shaping.by_place.truncate(last as usize);
        if let Some(slot) = gone {
            shaping.slots.remove(slot as usize);
            self.release(slot);
        }
    }

    /// Forgets all rules and rates. What waits stays, and is never dropped.
    pub(crate) fn unshape_all(&mut self) {
        self.shaping = None;
    }

    /// Returns the work for dropping so far.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> u64 {
        self.shaping.as_ref().map_or(0, |it| it.steps)
    }

    /// Returns true if some subscription has a rule or a rate.
    pub(crate) const fn is_shaped(&self) -> bool {
        self.shaping.is_some()
    }

    /// Takes in a message for the subscription in this slot. Reads the clock for those with a rate
    /// only.
    pub(crate) fn offer(&mut self, slot: u32, frame: &Frame) -> Offered {
        let pace = self.shaping.as_mut().map(|it| &mut it.slot(slot).pace);
        match pace {
            Some(Some(pace)) => pace.offer(frame, Instant::now()),
            _ => Offered::Now,
        }
    }

    /// Returns the message that waited for its time, if that has come and the slot is still there.
    pub(crate) fn take_due(&mut self, slot: u32, now: Instant) -> Option<Frame> {
        let slot = self.shaping.as_mut()?.slots.get_mut(slot as usize)?;
        slot.pace.as_mut()?.take_due(now)
    }

    /// Drops what waits for its time.
    pub(crate) fn drop_held(&mut self, slot: u32) {
        let pace = self.shaping.as_mut().map(|it| &mut it.slot(slot).pace);
        if let Some(Some(pace)) = pace {
            pace.drop_held();
        }
    }

    /// Drops the message that the next one of this slot replaces. Returns true if there was one.
    pub(crate) fn replace(&mut self, slot: u32) -> bool {
        let written = self.written;
        let Some(shaping) = &mut self.shaping else {
            return false;
        };
        let front = shaping.front;
        let it = shaping.slot(slot);
        let waits = it
            .place
            .filter(|place| is_unwritten(*place, front, written));
        match (it.slow, waits) {
            (Slow::Latest, Some(place)) => {
                self.drop_at(place);
                true
            }
            _ => false,
        }
    }

    /// Adds a message of this slot. The caller has asked [`Outbox::is_full`].
    pub(crate) fn push_message(&mut self, slot: u32, encoding: &Encoding, tail: Frame) {
        let place = self.end();
        let Some(shaping) = &mut self.shaping else {
            return;
        };
        let it = shaping.slot(slot);
        let heads = encoding.format.features().heads;
        let head = heads.then(|| encoding.head(it.tag.as_deref(), &tail));
        let of = match it.slow {
            Slow::Disconnect => Of::Nobody,
            Slow::DropOldest => Of::Slot(slot),
            Slow::Latest => {
                it.place = Some(place);
                Of::Slot(slot)
            }
        };
        let has_head = head.is_some();
        self.pieces.push_back(Piece::Mark(Mark { has_head, of }));
        if let Some(head) = head {
            self.bytes += head.len();
            self.pieces.push_back(Piece::Bytes(head));
        }
        self.push(tail);
    }

    /// Drops the oldest messages that may be dropped, until the outbox is not full or there are none.
    pub(crate) fn make_room(&mut self, limits: &Limits, encoding: &Encoding) -> Dropped {
        self.drop_while(|it| it.is_full(limits), encoding)
    }

    /// Drops all messages that may be dropped as the oldest.
    pub(crate) fn drop_all(&mut self, encoding: &Encoding) -> Dropped {
        self.drop_while(|_| true, encoding)
    }

    fn drop_while(&mut self, more: impl Fn(&Self) -> bool, encoding: &Encoding) -> Dropped {
        let mut dropped = Dropped::default();
        while more(self)
            && let Some((place, slot)) = self.next_oldest()
        {
            dropped.messages += 1;
            dropped.gaps += u64::from(self.drop_oldest(place, slot, encoding));
        }
        dropped
    }

    /// Drops a message that is the oldest of its subscription. The first of a hole leaves its place to
    /// a gap, and true is returned; the others have theirs in front of them already.
    fn drop_oldest(&mut self, place: u64, slot: u32, encoding: &Encoding) -> bool {
        let written = self.written;
        let Some(shaping) = &mut self.shaping else {
            return false;
        };
        let front = shaping.front;
        let it = shaping.slot(slot);
        // A gap that is written may be acted upon already: what is missing now needs another one.
        if it
            .place
            .is_some_and(|gap| is_unwritten(gap, front, written))
        {
            self.drop_at(place);
            return false;
        }
        it.place = Some(place);
        let tail = encoding.push(&Push::Gap {
            channel: &it.channel,
            cause: GapCause::Slow,
        });
        let heads = encoding.format.features().heads;
        let head = heads.then(|| encoding.head(it.tag.as_deref(), &tail));
        let at = (place - front) as usize;
        let has_head = head.is_some();
        let of = Of::Gap(slot);
        self.pieces[at] = Piece::Mark(Mark { has_head, of });
        // A message and a gap of one subscription have the same pieces.
        for (at, frame) in (at + 1..).zip(head.into_iter().chain([tail])) {
            self.bytes += frame.len();
            self.bytes -= self.pieces[at].bytes().len();
            self.pieces[at] = Piece::Bytes(frame);
        }
        true
    }

    /// Returns where the oldest message is that may be dropped as such, and its slot. Each piece is
    /// looked at once, however often this is called.
    fn next_oldest(&mut self) -> Option<(u64, u32)> {
        let first = self.first().0;
        let shaping = self.shaping.as_mut()?;
        // A frame that is partly written is never dropped.
        let begin = match self.written {
            0 => shaping.front,
            _ => shaping.front + first as u64,
        };
        let mut place = shaping.searched.max(begin);
        let found = loop {
            let at = (place - shaping.front) as usize;
            let Some(piece) = self.pieces.get(at) else {
                break None;
            };
            shaping.step(1);
            let pieces = match piece {
                Piece::Bytes(_) => 1,
                Piece::Mark(mark) => mark.pieces(),
            };
            let here = place;
            place += pieces as u64;
            if let Piece::Mark(Mark {
                of: Of::Slot(slot), ..
            }) = *piece
                && shaping.slot(slot).slow == Slow::DropOldest
            {
                break Some((here, slot));
            }
        };
        shaping.searched = place;
        found
    }

    /// Returns the place of the next piece that is added.
    fn end(&self) -> u64 {
        let front = self.shaping.as_ref().map_or(0, |it| it.front);
        front + self.pieces.len() as u64
    }
}

/// Returns true if the frame at this place still waits and no byte of it is written.
const fn is_unwritten(place: u64, front: u64, written: usize) -> bool {
    place > front || (place == front && written == 0)
}

#[cfg(test)]
mod tests;
