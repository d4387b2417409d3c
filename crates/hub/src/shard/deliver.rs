//! The fast path: from a batch of messages to the outboxes of those who subscribe.

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

impl ShardState {
    /// Nothing is encoded, allocated, awaited or locked for a recipient; only formats with heads write those for each.
    pub(super) fn deliver(&mut self, hub: &Hub, batch: &[Encoded]) {
        let mut deliveries = 0;
        for encoded in batch {
            let message = encoded.message();
            if let Some(position) = message.position {
                self.heads.insert(position.lane, position);
            }
            let Some(topic) = self.topics.by_name(&message.channel) else {
                continue;
            };
            let excluded = excluded(hub, self.index, message);
            // Most recipients have the encoding of the one before: its frame, and whether it needs a head.
            let mut last: Option<(&'static Encoding, &Frame, bool)> = None;
            for &Subscriber { session: index, at } in topic.live() {
                let session = &mut self.sessions[index as usize];
                if excluded.is_some_and(|key| key.is(index, session)) {
                    continue;
                }
                deliveries += 1;
                let encoding = session.setup.encoding;
                let (frame, has_heads) = match last {
                    Some((known, frame, has_heads)) if ptr::eq(known, encoding) => {
                        (frame, has_heads)
                    }
                    _ => {
                        let frame = encoded.frame(encoding, || hub.count_panic());
                        (frame, encoding.format.features().heads)
                    }
                };
                last = Some((encoding, frame, has_heads));
                let head = match has_heads {
                    true => session.head(at, frame),
                    false => None,
                };
                self.unwritten
                    .queue(hub, index, session, (head, frame.clone()));
            }
        }
        hub.count_deliveries(deliveries);
    }

    /// Tells the subscriptions concerned that they may have missed something.
    pub(super) fn announce(&mut self, hub: &Hub, scope: &Scope, cause: GapCause) {
        let concerned: Vec<Channel> = match scope {
            Scope::All => {
                let channels = self.topics.iter().map(|it| &it.channel);
                channels.cloned().collect()
            }
            Scope::Lane(lane) => {
                let channels = self.topics.iter().map(|it| &it.channel);
                let of_lane = |channel: &&Channel| hub.may_be_in(channel, *lane);
                channels.filter(of_lane).cloned().collect()
            }
            Scope::Channels(channels) => channels.clone(),
        };
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
        }
    }
}

impl Unwritten {
    /// Queues the same for several subscriptions, encoded once.
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
            let head = session.head(at, frame);
            self.queue(hub, index, session, (head, frame.clone()));
        }
    }
}

/// The session of this shard that a message must not be given to.
pub(super) fn excluded(hub: &Hub, shard: usize, message: &Message) -> Option<Key> {
    if message.tags.is_empty() {
        return None;
    }
    let name = SessionName::of(&message.tags)?;
    let is_here = name.origin == hub.origin && name.shard as usize == shard;
    is_here.then_some(name.key)
}

impl Key {
    /// Whether it names the session that is at this index now.
    fn is(self, index: u32, session: &Session) -> bool {
        self.index == index && self.serial == session.serial
    }
}
