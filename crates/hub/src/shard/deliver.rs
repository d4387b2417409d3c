//! The fast path: from a batch of messages to the outboxes of the sessions that subscribe.
//!
//! For a recipient nothing here takes a lock, allocates, awaits or encodes. A message is encoded
//! once for each format and shared from then on; it is written after the whole batch, by
//! [`ShardState::flush_dirty`]. No position is looked at either: see `recover.rs` for why that is
//! enough.

use std::ptr;

use hubplane_backplane::{Channel, GapCause, Scope};
use slab::Slab;

use super::{ShardState, Unwritten, topic::Subscriber};
use crate::{
    Hub,
    command::Push,
    format::SessionName,
    frame::{Encoded, Encoding, Frame, Frames},
    key::Key,
    message::Message,
    session::Session,
};

/// Stands for a frame before the first recipient's encoding is known.
static NOTHING: Frame = Frame::new();

impl ShardState {
    /// Queues a batch for everybody on this shard who subscribes. Costs one look-up a message and
    /// one push a recipient; only formats with heads write a head for each recipient.
    pub(super) fn deliver(&mut self, hub: &Hub, batch: &[Encoded]) {
        let mut deliveries = 0;
        for encoded in batch {
            let message = encoded.message();
            if let Some(position) = message.position {
                // Kept also for channels without subscribers here: a head is the lane's, not the
                // channel's.
                self.heads.insert(position.lane, position);
            }
            let Some(topic) = self.topics.by_name(&message.channel) else {
                continue;
            };
            let excluded = excluded(hub, self.index, message);
            // Most recipients have the same encoding as the one before them, so its frame is kept
            // at hand.
            let mut encoding: *const Encoding = ptr::null();
            let (mut frame, mut has_heads) = (&NOTHING, false);
            let is_shaped = topic.shaped;
            for &Subscriber { session: index, at } in topic.live() {
                let session = &mut *self.sessions[index as usize];
                if excluded.is_some_and(|key| key.is(index, session)) {
                    continue;
                }
                deliveries += 1;
                let theirs = session.setup.encoding;
                if !ptr::eq(encoding, theirs) {
                    encoding = theirs;
                    frame = encoded.frame(theirs, || hub.count_panic());
                    has_heads = theirs.format.features().heads;
                }
                if is_shaped && let Some(slot) = session.outbox.slot(at) {
                    let queued = self.unwritten.offer(hub, index, session, (slot, frame));
                    deliveries -= usize::from(!queued);
                } else if has_heads {
                    let parts = (session.head(at, frame), frame.clone());
                    self.unwritten.queue_with_head(hub, index, session, parts);
                } else {
                    self.unwritten.queue(hub, index, session, frame.clone());
                }
            }
        }
        hub.count_deliveries(deliveries);
    }

    /// Tells the subscriptions in `scope` that they may have missed messages. Called in the order
    /// of the mail, so it reaches clients before the first message behind the hole.
    pub(super) fn announce(&mut self, hub: &Hub, scope: &Scope, cause: GapCause) {
        let concerned: Vec<Channel> = match scope {
            Scope::All => {
                let channels = self.topics.iter().map(|it| &it.channel);
                channels.cloned().collect()
            }
            Scope::Lane(lane) => {
                let channels = self.topics.iter().map(|it| &it.channel);
                // Too many are told rather than too few: a channel may have been seen outside its
                // own lane.
                let of_lane = |channel: &&Channel| hub.may_be_in(channel, *lane);
                channels.filter(of_lane).cloned().collect()
            }
            Scope::Channels(channels) => channels.clone(),
        };
        // The names were cloned above because `tell` borrows sessions and topics side by side.
        for channel in concerned {
            let Some(topic) = self.topics.by_name(&channel) else {
                continue;
            };
            let push = Push::Gap {
                channel: &channel,
                cause,
            };
            self.unwritten
                .tell(hub, &mut self.sessions, topic.live(), &push);
            if topic.shaped {
                drop_held(&mut self.sessions, topic.live());
            }
        }
    }
}

impl Unwritten {
    /// Queues the same push for several subscriptions. It is encoded once for each encoding among
    /// them.
    pub(super) fn tell(
        &mut self,
        hub: &Hub,
        sessions: &mut Slab<Box<Session>>,
        to: &[Subscriber],
        push: &Push<'_>,
    ) {
        let frames = Frames::default();
        for &Subscriber { session: index, at } in to {
            let session = &mut sessions[index as usize];
            let encoding = session.setup.encoding;
            let frame = frames.get(encoding, || encoding.push(push));
            let parts = (session.head(at, frame), frame.clone());
            self.queue_with_head(hub, index, session, parts);
        }
    }
}

/// Drops what waits for its time: it is older than the gap that is told now, and the gap covers it.
fn drop_held(sessions: &mut Slab<Box<Session>>, of: &[Subscriber]) {
    for &Subscriber { session, at } in of {
        let outbox = &mut sessions[session as usize].outbox;
        if let Some(slot) = outbox.slot(at) {
            outbox.drop_held(slot);
        }
    }
}

/// Returns the session of this shard that a message must not be given to: the one that published it
/// and asked for that. `None` if there is no such session here.
pub(super) fn excluded(hub: &Hub, shard: usize, message: &Message) -> Option<Key> {
    // Nearly all messages: no tag is parsed for them.
    if message.tags.is_empty() {
        return None;
    }
    let name = SessionName::of(&message.tags)?;
    let is_here = name.origin == hub.origin() && name.shard as usize == shard;
    is_here.then_some(name.key)
}

impl Key {
    /// Returns true if the key names the session that is at this index now, and not an earlier one.
    fn is(self, index: u32, session: &Session) -> bool {
        self.index == index && self.serial == session.serial
    }
}
