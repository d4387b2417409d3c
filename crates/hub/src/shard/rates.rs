//! Holds sessions to how often they may subscribe and publish, and to what their channels' rules
//! say of messages. What is allowed at all was asked before; here it is only how much.

use std::time::Instant;

use hubplane_backplane::Outgoing;

use super::ShardState;
use crate::{
    Hub,
    command::{Command, ErrorCode},
    grant::Who,
    key::Key,
    limited::{Limit, Limited},
    session_rates::SessionRates,
};

impl ShardState {
    /// Returns true if the session has not asked for too much lately. If it has, the client is told.
    pub(super) fn is_in_time(
        &mut self,
        hub: &Hub,
        key: Key,
        command: &Command,
        now: Instant,
    ) -> bool {
        let Some(session) = self.session(key) else {
            return false;
        };
        if !SessionRates::counts(command, session.setup.grant.who) {
            return true;
        }
        match self.rates_of(key, now).take(command, hub.limits(), now) {
            Ok(()) => true,
            Err(limited) => self.limit(hub, key, command.reference(), limited),
        }
    }

    /// Returns true if a message keeps to its channel's rule. If not, the client is told.
    pub(super) fn keeps_to_rule(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        (message, now): (&Outgoing, Instant),
    ) -> bool {
        let Some(session) = self.session(key) else {
            return false;
        };
        let (who, limits) = (session.setup.grant.who, session.limits_of(&message.channel));
        if let Some(most) = limits.message_bytes
            && message.data.len() > most
        {
            hub.counts().count_limited(Limit::MessageBytes);
            let text = format!(
                "the limit message_bytes of this channel is reached: data has at most {most} bytes"
            );
            self.refuse(hub, key, reference, (ErrorCode::LimitReached, &text));
            return false;
        }
        let Some(rate) = limits.publish_rate.filter(|_| who != Who::Key) else {
            return true;
        };
        match self.rates_of(key, now).publish(&message.channel, rate, now) {
            Ok(()) => true,
            Err(limited) => self.limit(hub, key, reference, limited),
        }
    }

    /// Returns the buckets of a session, full ones if it has not asked for anything before.
    fn rates_of(&mut self, key: Key, now: Instant) -> &mut SessionRates {
        let rates = self.rates.entry(key.index);
        rates.or_insert_with(|| SessionRates::new(now))
    }

    /// Tells a client which limit it has reached, and counts that. Returns false.
    fn limit(&mut self, hub: &Hub, key: Key, reference: Option<&str>, limited: Limited) -> bool {
        hub.counts().count_limited(limited.limit);
        let text = limited.to_string();
        self.refuse(hub, key, reference, (ErrorCode::LimitReached, &text));
        false
    }
}
