//! How a subscription gets its rule for slow clients and its rate, and how the rate changes.
//!
//! The rule is asked for once, when the subscription is made; rights that change later leave it as it
//! is. What both do is in `outbox/shaping.rs`.

use hubplane_backplane::Channel;

use super::ShardState;
use crate::{command::Tag, key::Key, max_rate::MaxRate, outbox::Slot, slow::Slow};

impl ShardState {
    /// Gives the subscription at this place of its session's list a rule or a rate.
    pub(super) fn shape(&mut self, key: Key, at: usize, slot: Slot) {
        let session = &mut self.sessions[key.index as usize];
        self.topics[session.subscriptions[at].topic].shaped = true;
        session.outbox.shape(at as u32, slot);
    }

    /// Changes how many messages a second a subscription is given at most.
    pub(super) fn set_rate(
        &mut self,
        key: Key,
        channel: &Channel,
        tag: Option<&Tag>,
        rate: MaxRate,
    ) {
        let topic = self.topics.find(channel);
        let Some(session) = self.session(key) else {
            return;
        };
        let mut all = session.subscriptions.iter();
        let at = all.position(|it| Some(it.topic) == topic && it.tag.as_ref() == tag);
        let Some(at) = at else {
            return;
        };
        if let Some(slot) = session.outbox.slot(at as u32) {
            session.outbox.set_rate(slot, rate);
        } else if let Some(slot) = Slot::new((channel, tag), Slow::Disconnect, Some(rate)) {
            self.shape(key, at, slot);
        }
    }
}
