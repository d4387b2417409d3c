//! One batch of a lane: messages that are at the broker together, each until it is answered or out
//! of time. Pure: it is told what the broker said and what time it is, and says what to publish next.
//!
//! Within a sequence (see [`Sequence`]) neither the order nor the numbers are ever given up. What
//! fails is tried again with its number, and so is everything behind it. What is out of time is
//! answered, and a beacon takes the place of its number for as long as others wait behind it:
//! otherwise receivers would see a hole where nothing was promised.

use std::time::{Duration, Instant};

use hubplane_backplane::{Channel, Error, ErrorKind, Origin, Outgoing, Receipt, Result};

use super::{
    jobs::{Answered, Books, Owner},
    unanswered,
};
use crate::{
    beacon::Beacon,
    map::HashSet,
    position::Fingerprint,
    sequencer::{Sequence, Sequencer},
};

/// How long a batch of beacons alone may take.
const ALONE: Duration = Duration::from_secs(1);

/// One message on its way to the broker.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) sequence: Sequence,
    pub(super) outgoing: Outgoing,
    /// The first number that it stands for: a message's own, and for a beacon perhaps an earlier one.
    from: u64,
    /// Where the beacons of its sequence are published.
    beacons: Channel,
    deadline: Instant,
    /// The job that waits for it, and its place there; `None` once it is answered, and for the
    /// hub's own messages.
    owner: Option<Owner>,
    /// What went wrong last.
    error: Option<Error>,
}

/// Where a message belongs, and until when it may take.
pub(super) struct Place {
    pub(super) sequence: Sequence,
    /// Where the beacons of the sequence are published.
    pub(super) beacons: Channel,
    /// The job and the message's place in it.
    pub(super) owner: Owner,
    pub(super) deadline: Instant,
}

/// The messages of one batch that the broker has not taken yet.
pub(super) struct InFlightBatch {
    slots: Vec<Slot>,
    /// When the batch began, which is when all of its messages are added.
    begun: Instant,
    /// How long this process has been running, for beacons.
    up: Duration,
    /// Messages that were tried more than once.
    pub(super) retried: u64,
    /// Messages that got into another lane than the one they are numbered in, because lanes were
    /// added meanwhile: the lane where each is, and its number.
    pub(super) strayed: Vec<(u32, Origin)>,
}

impl Slot {
    /// Returns the error to report for a message that has failed once more. It says “surely not
    /// stored” only if no earlier try may have stored the message.
    fn worst(&mut self, error: Error) -> Error {
        match self.error.take() {
            Some(before) if before.kind() == ErrorKind::Unknown => before,
            _ => error,
        }
    }
}

impl InFlightBatch {
    /// An empty batch that begins `now`; `up` is how long this process has been running.
    pub(super) const fn new(now: Instant, up: Duration) -> Self {
        Self {
            slots: Vec::new(),
            begun: now,
            up,
            retried: 0,
            strayed: Vec::new(),
        }
    }

    /// When the batch began.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    /// Adds one of a job's messages under its next number. If numbers of its sequence are open, a
    /// beacon goes in front of it.
    pub(super) fn add(&mut self, books: &mut Books, place: Place, mut outgoing: Outgoing) {
        let Place {
            sequence,
            beacons,
            owner,
            deadline,
        } = place;
        let sequencer = &mut books.sequencer;
        // Otherwise receivers would see a hole in front of this message.
        if sequencer.open(&sequence).is_some() {
            self.beacon(sequencer, &sequence, Channel::clone(&beacons), |_| {});
        }
        let origin = sequencer.next(&sequence, self.begun);
        outgoing.origin = Some(origin);
        self.slots.push(Slot {
            sequence,
            outgoing,
            from: origin.number,
            beacons,
            deadline,
            owner: Some(owner),
            error: None,
        });
    }

    /// Adds a beacon that stands for the open numbers of its sequence; `fill` sets the rest.
    /// Returns its number.
    pub(super) fn beacon(
        &mut self,
        sequencer: &mut Sequencer,
        sequence: &Sequence,
        beacons: Channel,
        fill: impl FnOnce(&mut Beacon),
    ) -> u64 {
        // The number comes first, so that the beacon stands for the open ones and for its own.
        let origin = sequencer.next(sequence, self.begun);
        let from = sequencer.open(sequence).unwrap_or(origin.number);
        sequencer.close(sequence);
        let mut beacon = Beacon::new(origin, from, self.up);
        fill(&mut beacon);
        self.slots.push(Slot {
            sequence: sequence.clone(),
            outgoing: carried(Channel::clone(&beacons), origin, &beacon),
            from,
            beacons,
            deadline: self.begun + ALONE,
            owner: None,
            error: None,
        });
        origin.number
    }

    /// Returns what the broker is to be given now; empty when the batch is over.
    pub(super) fn batch(&self) -> Vec<Outgoing> {
        let all = self.slots.iter();
        all.map(|slot| slot.outgoing.clone()).collect()
    }

    /// Returns when the first message that somebody waits for is out of time; if nobody waits, when
    /// the beacons are. `None` when the batch is over.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        let owned = self.slots.iter().filter(|slot| slot.owner.is_some());
        let first = owned.map(|slot| slot.deadline).min();
        first.or_else(|| self.slots.iter().map(|slot| slot.deadline).min())
    }

    /// Takes in the broker's answers to the last batch, in its order; those that are missing count
    /// as unknown. Returns the jobs that are complete with this. `acknowledged` is told the numbers
    /// that the broker has.
    pub(super) fn answers(
        &mut self,
        answers: Vec<Result<Receipt>>,
        books: &mut Books,
        mut acknowledged: impl FnMut(&Sequence, Origin),
    ) -> Vec<Answered> {
        let mut answers = answers.into_iter();
        let slots = std::mem::take(&mut self.slots);
        let paired: Vec<_> = slots
            .into_iter()
            .map(|slot| (slot, answers.next().unwrap_or_else(|| Err(unanswered()))))
            .collect();
        // A message that a later one of its sequence has overtaken can't be tried again: the order
        // would be lost.
        let mut overtaken: HashSet<usize> = HashSet::default();
        let mut taken: HashSet<&Sequence> = HashSet::default();
        for (index, (slot, answer)) in paired.iter().enumerate().rev() {
            match answer {
                Ok(_) => _ = taken.insert(&slot.sequence),
                Err(_) if taken.contains(&slot.sequence) => _ = overtaken.insert(index),
                Err(_) => {}
            }
        }
        let mut done = Vec::new();
        // Kept slots stay in their order, so the next try has it, too.
        for (index, (mut slot, answer)) in paired.into_iter().enumerate() {
            match answer.map_err(|error| slot.worst(error)) {
                Ok(receipt) => {
                    let Outgoing {
                        channel,
                        data,
                        origin,
                        ..
                    } = &slot.outgoing;
                    if let Some(origin) = origin {
                        acknowledged(&slot.sequence, *origin);
                    }
                    let fingerprint = || Fingerprint::of(channel, data, *origin);
                    // Its lane may have changed while the message was on its way.
                    let stored = receipt.position().map(|at| (at, fingerprint()));
                    if let (Some((at, _)), Some(origin)) = (&stored, origin)
                        && slot.sequence != Sequence::Lane(at.lane)
                    {
                        self.strayed.push((at.lane, *origin));
                    }
                    done.extend(slot.owner.and_then(|it| books.settle(it, Ok(stored))));
                }
                Err(error) if error.kind().is_retryable() && !overtaken.contains(&index) => {
                    slot.error = Some(error);
                    self.slots.push(slot);
                }
                Err(error) => {
                    // No message will stand for this number: a beacon must.
                    books.sequencer.give_up(&slot.sequence, slot.from);
                    done.extend(slot.owner.and_then(|it| books.settle(it, Err(error))));
                }
            }
        }
        // What is left is tried again.
        self.retried += self.slots.len() as u64;
        done
    }

    /// Answers what is out of time. Its number stays in the batch as a beacon while others of its
    /// sequence wait behind it; the last numbers of a sequence are left open for the next batch.
    pub(super) fn expire(&mut self, now: Instant, books: &mut Books) -> Vec<Answered> {
        let mut done = Vec::new();
        // First the answers; what leaves the batch is decided below, when all owners are known.
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let Some(owner) = slot.owner.filter(|_| slot.deadline <= now) else {
                continue;
            };
            slot.owner = None;
            let error = slot.error.take().unwrap_or_else(unanswered);
            // The message must not be published any more, since its owner is told that it was given
            // up.
            if let Some(origin) = slot.outgoing.origin {
                let beacon = Beacon::new(origin, origin.number, self.up);
                slot.outgoing = carried(Channel::clone(&slot.beacons), origin, &beacon);
            }
            done.extend(books.settle(owner, Err(error)));
        }
        // From behind: a beacon stays only if a message that somebody waits for comes after it.
        let mut wanted: HashSet<Sequence> = HashSet::default();
        let mut kept: Vec<Slot> = Vec::with_capacity(self.slots.len());
        for slot in self.slots.drain(..).rev() {
            let stands =
                matches!(slot.sequence, Sequence::Lane(_)) && wanted.contains(&slot.sequence);
            if slot.owner.is_some() || stands {
                wanted.insert(slot.sequence.clone());
                kept.push(slot);
            } else {
                books.sequencer.give_up(&slot.sequence, slot.from);
            }
        }
        kept.reverse();
        self.slots = kept;
        done
    }
}

/// Wraps a beacon as a message for the backplane.
fn carried(channel: Channel, origin: Origin, beacon: &Beacon) -> Outgoing {
    let mut outgoing = Outgoing::new(channel, beacon.encode());
    outgoing.origin = Some(origin);
    outgoing
}

#[cfg(test)]
mod tests;
