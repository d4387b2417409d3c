//! Another instance, as its messages describe it: which members it has, and whether anything that
//! it told is missing. Pure.
//!
//! Its changes are numbered. One that does not follow the last makes the table incomplete; from
//! then on only a snapshot, or word that it has no members, mends it. Whatever it says is limited:
//! anybody may publish on the channel.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use super::{
    PAUSE,
    member::Member,
    table::{Place, Table},
    wire::{Op, What},
};

/// One other instance and its members.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) heard: Instant,
    /// The number of its last change that this instance's table has.
    number: u64,
    /// True if no change up to that number is missing.
    whole: bool,
    /// When it was asked for its table last.
    asked: Option<Instant>,
    members: HashMap<Place, Member>,
    /// The snapshot that is coming in, if one is.
    coming: Option<Coming>,
}

/// A snapshot of which not all parts have come yet.
#[derive(Debug)]
struct Coming {
    number: u64,
    of: u32,
    /// The parts that have come; a part that comes twice counts once.
    parts: HashSet<u32>,
    members: HashMap<Place, Member>,
    /// How many of them the table does not have already, and so need room.
    fresh: usize,
}

/// What was wrong with a message: how many members could not be read, and how many had no room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdict {
    pub(super) bad: u64,
    pub(super) dropped: u64,
}

impl Peer {
    /// An instance of which nothing is known yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            number: 0,
            whole: true,
            asked: None,
            members: HashMap::new(),
            coming: None,
        }
    }

    /// Returns the places of its members.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.members.keys()
    }

    /// Returns how many members are kept in memory for it, with those of a snapshot that is not
    /// complete.
    pub(super) fn held(&self) -> usize {
        let coming = self.coming.as_ref().map_or(0, |it| it.fresh);
        self.members.len() + coming
    }

    /// Returns true if it must be asked for its table now, and notes that it is. Asks once in
    /// [`PAUSE`] at most.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        let rested = self.asked.is_none_or(|at| now >= at + PAUSE);
        let asks = !self.whole && rested;
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    /// Takes a message that this instance sent. `room` is how many more members may be held. Older
    /// messages than what is known are ignored.
    pub(super) fn take(
        &mut self,
        what: What,
        room: usize,
        now: Instant,
        table: &mut Table,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        match what {
            What::Diff { n, whole, ops } if n > self.number => {
                // Its table was empty before, so nothing that was missed matters any more.
                if whole {
                    self.replace(HashMap::new(), now, table);
                } else if !self.whole || n - 1 != self.number {
                    // A change in between is missing. The table stays as it was until a snapshot
                    // comes.
                    self.whole = false;
                    return verdict;
                }
                self.reached(n);
                self.apply(ops, room, &mut verdict, (now, table));
            }
            // It has no members: that is its whole table.
            What::Beat { n, members: 0 } if n >= self.number => {
                self.replace(HashMap::new(), now, table);
                self.reached(n);
            }
            What::Beat { n, .. } if n > self.number => self.whole = false,
            What::Snapshot { n, part, of, ops }
                // One of the same number is of use only where something is missing.
                if n > self.number || (n == self.number && !self.whole) =>
            {
                self.gather((n, part, of), ops, room, &mut verdict);
                self.finish(now, table);
            }
            _ => {}
        }
        verdict
    }

    /// Notes that its table is complete up to this change.
    fn reached(&mut self, number: u64) {
        self.number = number;
        self.whole = true;
        self.coming = None;
    }

    /// Carries out changes to its members.
    fn apply(
        &mut self,
        ops: Vec<Op>,
        mut room: usize,
        verdict: &mut Verdict,
        (now, table): (Instant, &mut Table),
    ) {
        for op in ops {
            // Counted and passed over: the others of the message may be good.
            let Some((channel, member, there)) = op.read() else {
                verdict.bad += 1;
                continue;
            };
            let place = (channel, Arc::clone(&member.client));
            match (there, self.members.contains_key(&place)) {
                (true, true) => {
                    table.renew(&place.0, &member);
                    self.members.insert(place, member);
                }
                (true, false) if room == 0 && !table.is_leaving(&place) => verdict.dropped += 1,
                (true, false) => {
                    room = room.saturating_sub(1);
                    table.hold(&place.0, &member);
                    self.members.insert(place, member);
                }
                (false, true) => {
                    self.members.remove(&place);
                    table.release(&place, now);
                }
                (false, false) => {}
            }
        }
    }

    /// Keeps a part of a snapshot. Parts of an older snapshot are dropped.
    fn gather(
        &mut self,
        (number, part, of): (u64, u32, u32),
        ops: Vec<Op>,
        mut room: usize,
        verdict: &mut Verdict,
    ) {
        self.whole = false;
        let fits = |it: &Coming| it.number == number && it.of == of;
        // A later snapshot is coming in already.
        if self.coming.as_ref().is_some_and(|it| it.number > number) {
            return;
        }
        // Parts of different snapshots don't make a table.
        let coming = self.coming.take().filter(fits).unwrap_or_else(|| Coming {
            number,
            of,
            parts: HashSet::new(),
            members: HashMap::new(),
            fresh: 0,
        });
        let coming = self.coming.insert(coming);
        // This part was here before.
        if !coming.parts.insert(part) {
            return;
        }
        for op in ops {
            let Some((channel, member, _)) = op.read() else {
                verdict.bad += 1;
                continue;
            };
            let place = (channel, Arc::clone(&member.client));
            // A member that is known already takes no more room when the snapshot replaces the table.
            let known = self.members.contains_key(&place) || coming.members.contains_key(&place);
            if !known {
                if room == 0 {
                    verdict.dropped += 1;
                    continue;
                }
                room -= 1;
                coming.fresh += 1;
            }
            coming.members.insert(place, member);
        }
    }

    /// Replaces the table once all parts have come.
    fn finish(&mut self, now: Instant, table: &mut Table) {
        let done = |it: &mut Coming| it.parts.len() == it.of as usize;
        if let Some(coming) = self.coming.take_if(done) {
            self.replace(coming.members, now, table);
            self.reached(coming.number);
        }
    }

    /// Replaces its members, so that only real comings and goings are told.
    fn replace(&mut self, members: HashMap<Place, Member>, now: Instant, table: &mut Table) {
        for (place, member) in &members {
            match self.members.get(place) {
                Some(known) if known == member => {}
                Some(_) => table.renew(&place.0, member),
                None => table.hold(&place.0, member),
            }
        }
        // Those that it has no more are released last: a member that stays never leaves in between.
        for place in self.members.keys() {
            if !members.contains_key(place) {
                table.release(place, now);
            }
        }
        self.members = members;
    }
}
