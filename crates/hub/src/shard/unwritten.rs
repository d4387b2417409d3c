//! What a shard has to write: which sessions have something, what waits for its time, and who is
//! given no more because too much waits.
//!
//! Apart from the rest of the shard's state, so that it can be borrowed beside the sessions and the
//! channels while a message is delivered.

use std::sync::atomic::Ordering;

use super::due::Due;
use crate::{
    Hub,
    frame::Frame,
    key::Key,
    outbox::{Offered, Scratch},
    session::Session,
};

/// What is to be written before the shard rests, and what later.
#[derive(Default)]
pub(super) struct Unwritten {
    /// Sessions with something to write.
    pub(super) dirty: Vec<u32>,
    /// Joins frames for one write.
    pub(super) scratch: Scratch,
    /// Messages that wait for their time, because their client asked for fewer.
    pub(super) due: Due,
}

impl Unwritten {
    /// Queues a frame for a client, unless its session is ending or has too much waiting.
    #[inline]
    pub(super) fn queue(&mut self, hub: &Hub, index: u32, session: &mut Session, frame: Frame) {
        if self.has_room(hub, index, session) {
            session.outbox.push(frame);
        }
    }

    /// Queues a frame like [`Unwritten::queue`], with a head of the client's own in front if it has
    /// one.
    pub(super) fn queue_with_head(
        &mut self,
        hub: &Hub,
        index: u32,
        session: &mut Session,
        (head, tail): (Option<Frame>, Frame),
    ) {
        match head {
            None => self.queue(hub, index, session, tail),
            Some(head) if self.has_room(hub, index, session) => {
                session.outbox.push_pair(head, tail)
            }
            Some(_) => {}
        }
    }

    /// Takes in a message for a subscription with a rule or a rate: it is queued now, or waits for
    /// its time. Returns true if it is queued.
    pub(super) fn offer(
        &mut self,
        hub: &Hub,
        index: u32,
        session: &mut Session,
        (slot, frame): (u32, &Frame),
    ) -> bool {
        if session.is_ending() {
            return false;
        }
        match session.outbox.offer(slot, frame) {
            Offered::Now => self.queue_message(hub, index, session, (slot, frame.clone())),
            Offered::Waits(until) => {
                let serial = session.serial;
                self.due.add(until, Key { index, serial }, slot);
                return false;
            }
            Offered::Replaced => {
                hub.counts().thinned.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// Queues a message whose time has come, by its subscription's rule.
    pub(super) fn queue_message(
        &mut self,
        hub: &Hub,
        index: u32,
        session: &mut Session,
        (slot, frame): (u32, Frame),
    ) {
        // First, since what it replaces leaves room for it.
        if session.outbox.replace(slot) {
            hub.counts().replaced.fetch_add(1, Ordering::Relaxed);
        }
        if self.has_room(hub, index, session) {
            let encoding = session.setup.encoding;
            session.outbox.push_message(slot, encoding, frame);
        }
    }

    /// Makes sure that the session is flushed, and returns true if it takes one more frame. Ends one that is too slow.
    #[inline]
    fn has_room(&mut self, hub: &Hub, index: u32, session: &mut Session) -> bool {
        self.mark(index, session);
        if session.is_ending() {
            return false;
        }
        !session.outbox.is_full(hub.limits()) || self.relieve(hub, session)
    }

    /// Makes room in a full outbox: writes it, and drops what its rules let drop. Returns false if
    /// that was not enough, and the session ends.
    #[cold]
    fn relieve(&mut self, hub: &Hub, session: &mut Session) -> bool {
        let (has_room, dropped) = session.relieve(hub.limits(), &mut self.scratch);
        hub.counts().count_dropped(dropped);
        if !has_room {
            hub.count_slow();
        }
        has_room
    }

    /// Makes sure that the session is flushed before the shard rests; it is listed once only.
    pub(super) fn mark(&mut self, index: u32, session: &mut Session) {
        if !std::mem::replace(&mut session.dirty, true) {
            self.dirty.push(index);
        }
    }
}
