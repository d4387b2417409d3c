//! The fast path: from a batch of messages to the outboxes of those who subscribe.

use hubplane_backplane::{Channel, GapCause, Scope};
use slab::Slab;

use super::{ShardState, Unwritten, topic::Subscriber};
use crate::{
    Hub,
    command::Push,
    frame::{ENCODINGS, Encoded, Frame},
    session::Session,
};

impl ShardState {
    /// Nothing is encoded, allocated, awaited or locked for a recipient.
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
            deliveries += topic.live().len();
            for &Subscriber { session: index, .. } in topic.live() {
                let session = &mut self.sessions[index as usize];
                let frame = encoded.frame(session.admission.encoding, || hub.count_panic());
                self.unwritten.queue(hub, index, session, frame.clone());
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
            let subscribers = topic.live().iter().map(|it| it.session);
            let push = Push::Gap {
                channel: &channel,
                cause,
            };
            self.unwritten
                .tell(hub, &mut self.sessions, subscribers, &push);
        }
    }
}

impl Unwritten {
    /// Queues the same for several sessions, encoded once.
    pub(super) fn tell(
        &mut self,
        hub: &Hub,
        sessions: &mut Slab<Box<Session>>,
        to: impl Iterator<Item = u32>,
        push: &Push<'_>,
    ) {
        let mut frames: [Option<Frame>; ENCODINGS] = Default::default();
        for index in to {
            let session = &mut sessions[index as usize];
            let encoding = session.admission.encoding;
            let frame = frames[encoding.slot()].get_or_insert_with(|| encoding.push(push));
            self.queue(hub, index, session, frame.clone());
        }
    }
}
