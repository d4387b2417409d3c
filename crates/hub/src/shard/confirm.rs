//! What the broker says of channels: it carries them to this instance, it refuses them, or it is away
//! and is asked again.
//!
//! Whose subscriptions these are, and how they are taken off, is in `subscribe.rs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{Channel, Error, ErrorKind};

use super::{ShardState, subscription::WaitsFor, topic::Subscriber};
use crate::{Hub, key::Key, key::SubscriptionKey, publisher};

/// How long to wait between two times that the broker is asked for the same channels.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl ShardState {
    /// Takes the broker's answer for a channel: those who wait for it are subscribed, or told why
    /// not.
    /// While the broker is away they go on waiting: a client that subscribed when it connected
    /// would never ask again.
    pub(super) fn confirm(
        &mut self,
        hub: &Hub,
        channel: &Channel,
        result: &std::result::Result<(), Arc<Error>>,
    ) {
        let Some(number) = self.topics.find(channel) else {
            return;
        };
        let topic = &mut self.topics[number];
        // Later subscribers of this channel need not wait.
        topic.ready = result.is_ok();
        if let Err(error) = result
            // Away is not refused: the channel is asked for again by the clock.
            && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown)
        {
            return self.unconfirmed.push(Channel::clone(channel));
        }
        // Collected first, because each answer changes the list.
        let waiting: Vec<_> = topic.waiting().to_vec();
        let keys: Vec<_> = waiting
            .into_iter()
            .filter_map(|subscriber| self.awaits_interest(subscriber))
            .collect();
        for key in keys {
            match result {
                Ok(()) => self.admit(hub, key),
                Err(error) => {
                    let (code, message) = publisher::told(error);
                    self.reject(hub, key, (code, &message));
                }
            }
        }
        if let Err(error) = result {
            self.end_subscriptions(hub, channel, error);
        }
    }

    /// Ends the subscriptions of a channel that the broker had confirmed and now refuses. Their
    /// clients are told why, and that they are no longer subscribed.
    fn end_subscriptions(&mut self, hub: &Hub, channel: &Channel, error: &Error) {
        let (code, message) = publisher::told(error);
        let message = format!("{channel}: {message}");
        while let Some(topic) = self.topics.by_name(channel)
            // From the end, so that removing one moves none of the others that are live.
            && let Some(&subscriber) = topic.live().last()
        {
            let index = subscriber.session;
            let serial = self.sessions[index as usize].serial;
            let key = Key { index, serial };
            self.end_subscription(hub, key, subscriber.at as usize, (code, &message));
        }
    }

    /// Asks the broker again for the channels that it could not answer for, once in [`ASK_AGAIN`]
    /// at most.
    pub(super) fn ask_again(&mut self, hub: &Hub) {
        if self.unconfirmed.is_empty() || self.asked_at.elapsed() < ASK_AGAIN {
            return;
        }
        self.asked_at = Instant::now();
        let mut channels = std::mem::take(&mut self.unconfirmed);
        // A channel that several waited for is here several times.
        channels.sort_unstable();
        channels.dedup();
        for channel in channels {
            // Somebody may still wait for it; otherwise the interest is gone with the last
            // subscription.
            let still_waits = self.topics.find(&channel).is_some();
            if still_waits && hub.interest().add(self.index, &channel) {
                self.confirm(hub, &channel, &Ok(()));
            }
        }
    }

    /// Returns the key of a subscription that waits for the broker, `None` if it waits for
    /// something else.
    fn awaits_interest(&mut self, subscriber: Subscriber) -> Option<SubscriptionKey> {
        let session = &mut self.sessions[subscriber.session as usize];
        let waiting = session.subscriptions[subscriber.at as usize].waiting()?;
        matches!(waiting.on, WaitsFor::Interest).then_some(SubscriptionKey {
            session: Key {
                index: subscriber.session,
                serial: session.serial,
            },
            serial: waiting.serial,
        })
    }
}
