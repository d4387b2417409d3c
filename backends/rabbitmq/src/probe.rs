//! Which policies of the operator apply to this instance's queues.
//!
//! AMQP has no question for it. So a third queue, the **probe**, is named as the other two, and
//! what becomes of messages in it is seen: a burst of them shows a `max-length`, one that is left
//! for a while a `message-ttl`, and the queue itself, which nobody uses meanwhile, a short
//! `expires`. It is looked at when the instance connects, soon after, and then each minute; what
//! has changed is logged once. All else that a policy can say of a queue
//! (<https://www.rabbitmq.com/docs/parameters#policies>), RabbitMQ takes from our arguments.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel,
    options::{BasicPublishOptions, QueuePurgeOptions},
    types::ShortString,
};
use tokio::time::Instant;

use crate::{
    config::Config,
    declare::{count, dead_letters},
    instance_queue::{BURST, InstanceQueue},
    link::{NOT_FOUND, reply_code},
};

/// The pauses between looks; the last one stays.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(12),
    Duration::from_secs(60),
];

/// What the probe has shown; empty if no policy shortens the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The queue holds only so many messages.
    length: Option<u32>,
    /// A message was gone after so long.
    message_ttl: Option<Duration>,
    /// The probe was gone after so long without use.
    expires: Option<Duration>,
}

/// What lies in the probe, and what it has shown so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    found: Found,
    /// When a message was left there; `None` if the next look can't conclude anything from the
    /// time.
    left: Option<Instant>,
    /// How many looks there were, which decides the pause.
    looks: usize,
}

impl Probe {
    /// Returns how long to wait for the next look.
    pub(crate) fn pause(&self) -> Duration {
        PAUSES[self.looks.saturating_sub(1).min(PAUSES.len() - 1)]
    }

    /// Returns true if a policy drops messages that wait for a moment.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.found.length.is_some() || self.found.message_ttl.is_some()
    }

    /// Looks, and logs what has changed since the last look. `channel` must be one that confirms;
    /// the broker closes it if the probe is gone.
    pub(crate) async fn look(
        &mut self,
        channel: &Channel,
        queue: &InstanceQueue,
        config: &Config,
    ) -> lapin::Result<()> {
        let before = self.found;
        let looked = self.test(channel, queue, config).await;
        self.looks += 1;
        if self.found != before {
            say(&self.found, queue);
        }
        looked
    }

    /// Draws conclusions from the message that was left, then tries a burst and leaves a message
    /// for the next look.
    async fn test(
        &mut self,
        channel: &Channel,
        queue: &InstanceQueue,
        config: &Config,
    ) -> lapin::Result<()> {
        match self.left.take().map(|left| left.elapsed()) {
            None => queue.declare_probe(channel, config).await?,
            Some(lain) => match count(channel, &queue.probe).await {
                Ok(0) => self.found.message_ttl = Some(lain),
                Ok(_) => self.outlived(lain),
                Err(error) if reply_code(&error) == Some(NOT_FOUND) => {
                    // A probe that was gone later than the address allows has expired by our own
                    // argument.
                    self.found.expires = Some(lain).filter(|lain| *lain < config.expires);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        }
        self.put(BURST, channel, queue, config).await?;
        let held = count(channel, &queue.probe).await?;
        self.found.length = (held < BURST).then_some(held);
        self.put(1, channel, queue, config).await?;
        self.left = Some(Instant::now());
        Ok(())
    }

    /// Notes that the probe and the message in it are still there after so long: a shorter limit is
    /// no longer in force.
    fn outlived(&mut self, lain: Duration) {
        let longer = |limit: &Duration| *limit > lain;
        self.found.message_ttl = self.found.message_ttl.filter(longer);
        self.found.expires = self.found.expires.filter(longer);
    }

    /// Notes that the message that was left proves nothing: a look was begun and not ended, or the
    /// queue is another one.
    pub(crate) fn interrupted(&mut self) {
        self.left = None;
    }

    /// Empties the probe, puts so many messages into it, and waits until the broker has confirmed
    /// all of them.
    async fn put(
        &self,
        number: u32,
        channel: &Channel,
        queue: &InstanceQueue,
        config: &Config,
    ) -> lapin::Result<()> {
        let probe = ShortString::from(queue.probe.as_str());
        let purged = channel.queue_purge(probe.clone(), QueuePurgeOptions::default());
        purged.await?;
        let mut confirms = Vec::new();
        for _ in 0..number {
            let (exchange, options) = (dead_letters(config), BasicPublishOptions::default());
            let unsaved = BasicProperties::default().with_delivery_mode(1);
            let put = channel.basic_publish(exchange, probe.clone(), options, b"probe", unsaved);
            confirms.push(put.await?);
        }
        for confirm in confirms {
            confirm.await?;
        }
        Ok(())
    }
}

/// Logs what was found, with what to do about it.
fn say(found: &Found, queue: &InstanceQueue) {
    let queue = &queue.name;
    if let Some(messages) = found.length {
        tracing::warn!(
            queue,
            messages,
            "a policy of RabbitMQ (max-length or max-length-bytes) cuts this instance's queue: what it drops while the \
             instance is slow or away is announced as a gap; exempt queues named hubplane.* from the policy"
        );
    }
    if let Some(within) = found.message_ttl {
        tracing::warn!(
            queue,
            ?within,
            "a policy of RabbitMQ (message-ttl) drops messages from this instance's queue: what waits longer while the \
             instance is slow or away is announced as a gap, and so is a lost connection; exempt queues named \
             hubplane.* from the policy"
        );
    }
    if let Some(within) = found.expires {
        tracing::warn!(
            queue,
            ?within,
            "a policy of RabbitMQ (expires) deletes this instance's queue sooner than the address says: an instance \
             that is away for longer has a gap; exempt queues named hubplane.* from the policy"
        );
    }
    if *found == Found::default() {
        tracing::info!(
            queue,
            "no policy of RabbitMQ shortens this instance's queue any more"
        );
    }
}
