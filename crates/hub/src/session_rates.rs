//! How often one session has subscribed and published lately. It stands beside the session, which
//! stays small, and what the channels' rules count is made only where a rule has a rate.

use std::time::{Duration, Instant};

use hubplane_backplane::Channel;

use crate::{
    bucket::{Allowance, Bucket, Buckets},
    channel_limits::Rate,
    command::Command,
    grant::Who,
    limited::{Limit, Limited},
    limits::Limits,
};

/// Channels with a rate that one session is counted on at the same time.
const CHANNELS: usize = 1_024;

/// The buckets of one session.
#[derive(Debug)]
pub(crate) struct SessionRates {
    subscribes: Bucket,
    publishes: Bucket,
    /// By channel, where a rule has a rate.
    channels: Option<Box<Buckets<Channel>>>,
}

impl SessionRates {
    /// Returns full buckets.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            subscribes: Bucket::full(now),
            publishes: Bucket::full(now),
            channels: None,
        }
    }

    /// Returns true if [`Self::take`] counts a command.
    pub(crate) fn counts(command: &Command, who: Who) -> bool {
        match command {
            Command::Subscribe { .. } => true,
            // A key speaks for a backend, which publishes for many.
            Command::Publish { .. } => who != Who::Key,
            _ => false,
        }
    }

    /// Counts a command for which [`Self::counts`] is true.
    pub(crate) fn take(
        &mut self,
        command: &Command,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Limited> {
        let second = Duration::from_secs(1);
        let (limit, bucket, rate, burst) = match command {
            Command::Subscribe { .. } => (
                Limit::SessionSubscribes,
                &mut self.subscribes,
                limits.session_subscribes_per_second,
                limits.session_subscribes_burst,
            ),
            _ => (
                Limit::SessionPublishes,
                &mut self.publishes,
                limits.session_publishes_per_second,
                limits.session_publishes_burst,
            ),
        };
        let taken = bucket.take(1, Allowance::new(rate, second, burst), now);
        taken.map_err(|after| Limited { limit, after })
    }

    /// Counts one publish to a channel whose rule has a rate.
    pub(crate) fn publish(
        &mut self,
        channel: &Channel,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Limited> {
        let new = || Box::new(Buckets::new(CHANNELS));
        let buckets = self.channels.get_or_insert_with(new);
        let taken = buckets.take(Channel::clone(channel), 1, rate.into(), now);
        let limit = Limit::PublishRate;
        taken.map_err(|after| Limited { limit, after })
    }
}

/// A rule's rate may come all at once.
impl From<Rate> for Allowance {
    fn from(rate: Rate) -> Self {
        let messages = rate.messages() as usize;
        Self::new(messages, rate.per(), messages)
    }
}
