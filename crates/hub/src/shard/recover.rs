//! Subscriptions that go on where the client was: from the window, and where that is too short, from the broker's log.
//!
//! A shard has been shown each lane up to its head. The window has that too, and perhaps more; it is read up to the
//! head, and what comes after the head comes by mail. So nothing is missed and nothing comes twice, without a look at
//! any position on the way of a delivery.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use hubplane_backplane::Channel;

use super::{ShardState, Waiting, found, mail::RecoveryAnswer, presence::code};
use crate::{
    Hub,
    command::Reply,
    position::ClientPosition,
    pump::Health,
    recovery::RecoveryRequest,
    session::Key,
    window::{ReadLimit, WindowEntry, WindowRead},
};

/// How long a shard may be behind what a client has been shown by another instance, while messages arrive; longer than it
/// takes to find out that they don't.
const BEHIND: Duration = Duration::from_secs(5);

impl ShardState {
    /// How far a channel's lane has come here.
    pub(super) fn head(&self, hub: &Hub, channel: &str) -> Option<ClientPosition> {
        let lane = hub.backplane().lane(channel)?;
        self.heads.get(&lane).copied()
    }

    /// The broker carries this channel to here: the subscription begins, where the client was if that is possible.
    pub(super) fn admit(&mut self, hub: &Hub, channel: &Channel, waiting: Waiting) {
        let head = self.head(hub, channel);
        let (Some(since), Some(head)) = (waiting.since, head) else {
            let asked = waiting.since.is_some();
            return self.begin(hub, channel, &waiting, asked.then_some(None));
        };
        let cap = cap(hub);
        let Some(session) = self.session(waiting.key) else {
            return;
        };
        if session.outbox.bytes() > hub.limits().outbox_bytes / 2 {
            let waits = self.recovering.entry(waiting.key.index).or_default();
            waits.push(Channel::clone(channel));
            return self.wait(channel, waiting);
        }
        if since.epoch == head.epoch && since.lane == head.lane && since.offset > head.offset {
            let until = Instant::now() + BEHIND;
            self.ahead
                .push((until, Channel::clone(channel), waiting.key));
            return self.wait(channel, waiting);
        }
        let found = match since.lane == head.lane {
            true => hub.log.window().read(channel, since, Some(head), cap),
            false => WindowRead::Lost,
        };
        match found {
            WindowRead::All(entries) => {
                hub.counts().from_window.fetch_add(1, Ordering::Relaxed);
                self.begin(hub, channel, &waiting, Some(Some(entries)));
            }
            WindowRead::Older if hub.backplane().history().is_some() => {
                let wanted = RecoveryRequest {
                    shard: self.index,
                    key: waiting.key,
                    channel: Channel::clone(channel),
                    after: since,
                };
                match hub.reads.try_send(wanted) {
                    Ok(()) => self.wait(
                        channel,
                        Waiting {
                            reading: true,
                            ..waiting
                        },
                    ),
                    Err(_busy) => self.begin(hub, channel, &waiting, Some(None)),
                }
            }
            WindowRead::Older | WindowRead::TooMany | WindowRead::Lost => {
                self.begin(hub, channel, &waiting, Some(None));
            }
        }
    }

    fn wait(&mut self, channel: &Channel, waiting: Waiting) {
        if let Some(topic) = self.topics.get_mut(channel) {
            topic.waiting.push(waiting);
        }
    }

    /// Takes a waiting subscription out, if it is still there.
    fn waiting(&mut self, channel: &Channel, key: Key) -> Option<Waiting> {
        let topic = self.topics.get_mut(channel)?;
        let at = topic
            .waiting
            .iter()
            .position(|waiting| waiting.key == key)?;
        Some(topic.waiting.swap_remove(at))
    }

    /// Admits a subscription that had to wait.
    pub(super) fn retry(&mut self, hub: &Hub, channel: &Channel, key: Key) {
        if let Some(waiting) = self.waiting(channel, key) {
            self.admit(hub, channel, waiting);
        }
    }

    /// The next of a session's channels whose past waited for the outbox to empty.
    pub(super) fn next_recovering(&mut self, index: u32) -> Option<Channel> {
        if self.recovering.is_empty() {
            return None;
        }
        let waits = self.recovering.get_mut(&index)?;
        let channel = waits.pop();
        if channel.is_none() {
            self.recovering.remove(&index);
        }
        channel
    }

    /// Looks at the subscriptions that waited for this shard to come as far as their clients.
    pub(super) fn catch_up(&mut self, hub: &Hub) {
        if self.ahead.is_empty() {
            return;
        }
        let now = Instant::now();
        // Nobody can tell then whether the log was cut behind the client. Admitted at the old head, it would get again
        // what another instance has given it, as soon as the broker is back.
        let cut_off = hub.health() != Health::Up;
        for (until, channel, key) in std::mem::take(&mut self.ahead) {
            let Some(mut waiting) = self.waiting(&channel, key) else {
                continue;
            };
            let head = self.head(hub, &channel);
            let behind = match (waiting.since, head) {
                (Some(since), Some(head)) => since.is_after(&head) == Some(true),
                _ => false,
            };
            if !behind {
                self.admit(hub, &channel, waiting);
            } else if cut_off || now < until {
                let until = if cut_off { now + BEHIND } else { until };
                self.ahead.push((until, Channel::clone(&channel), key));
                self.wait(&channel, waiting);
            } else {
                // Nobody has that position any more: the log was cut behind the client.
                waiting.reading = false;
                self.begin(hub, &channel, &waiting, Some(None));
            }
        }
    }

    /// A subscription's past has been read from the broker; the rest of it is in the window.
    pub(super) fn past(&mut self, hub: &Hub, past: RecoveryAnswer) {
        let RecoveryAnswer {
            channel,
            key,
            found,
        } = past;
        let Some(waiting) = self.waiting(&channel, key).filter(|it| it.reading) else {
            return;
        };
        let whole = found.and_then(|(entries, upto)| self.complete(hub, &channel, entries, upto));
        if whole.is_some() {
            hub.counts().from_history.fetch_add(1, Ordering::Relaxed);
        }
        self.begin(hub, &channel, &waiting, Some(whole));
    }

    /// Joins what was read from the broker up to `upto` with what the window has from there to the head.
    fn complete(
        &self,
        hub: &Hub,
        channel: &Channel,
        mut entries: Vec<WindowEntry>,
        upto: ClientPosition,
    ) -> Option<Vec<WindowEntry>> {
        let head = self.head(hub, channel)?;
        if upto.epoch != head.epoch {
            return None;
        }
        // What is after the head comes by mail.
        entries.retain(|entry| entry.position().offset <= head.offset);
        if upto.offset < head.offset {
            let rest = hub.log.window().read(channel, upto, Some(head), cap(hub));
            let WindowRead::All(rest) = rest else {
                return None;
            };
            entries.extend(rest);
        }
        (entries.len() <= cap(hub).messages).then_some(entries)
    }

    /// The channel's messages reach this session from here on, after those that it missed. `missed`: `None` where the
    /// client asked for none, `Some(None)` where it can't be given them.
    fn begin(
        &mut self,
        hub: &Hub,
        channel: &Channel,
        waiting: &Waiting,
        missed: Option<Option<Vec<WindowEntry>>>,
    ) {
        let key = waiting.key;
        if self.session(key).is_none() {
            return;
        }
        let presence = waiting.presence.as_deref().cloned();
        let attends = presence.map(|presence| self.attend(hub, channel, key.index, presence));
        if let Some(Err(refusal)) = attends {
            let error = (code(refusal), &*refusal.to_string());
            return self.reject(hub, channel, waiting, error);
        }
        if let Some(topic) = self.topics.get_mut(channel) {
            topic.subscribers.push(key.index);
        }
        if matches!(missed, Some(None)) {
            hub.counts().not_recovered.fetch_add(1, Ordering::Relaxed);
        }
        let missed = missed.flatten();
        let position = match missed {
            Some(_) => waiting.since,
            None => self.head(hub, channel),
        };
        let reply = Reply::Subscribed {
            reference: waiting.reference.as_deref(),
            channel,
            position,
            recovered: missed.is_some(),
        };
        self.reply(hub, key, &reply);
        let Some(session) = found(&mut self.sessions, key) else {
            return;
        };
        if session.ends_at.is_some() {
            return;
        }
        let missed = missed.unwrap_or_default();
        hub.count_deliveries(missed.len());
        for entry in missed {
            let encoding = session.admission.encoding;
            let frame = entry.frame(encoding, || hub.count_panic());
            session.outbox.push_extra(frame);
        }
        self.unwritten.mark(key.index, session);
    }
}

fn cap(hub: &Hub) -> ReadLimit {
    ReadLimit {
        messages: hub.limits().recovery_messages,
        bytes: hub.limits().recovery_bytes,
    }
}
