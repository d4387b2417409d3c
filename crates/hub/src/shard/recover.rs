//! Subscriptions that go on where the client was: from the window, and where that is too short, from the broker's log.
//!
//! A shard has been shown each lane up to its head. The window has that too, and perhaps more; it is read up to the
//! head, and what comes after the head comes by mail. So nothing is missed and nothing comes twice, without a look at
//! any position on the way of a delivery.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use hubplane_backplane::Channel;

use super::{
    ShardState,
    deliver::excluded,
    found,
    mail::RecoveryAnswer,
    presence::code,
    subscription::{Missed, Stage, Waiting, WaitsFor, until},
};
use crate::{
    Hub,
    command::Reply,
    key::Key,
    key::SubscriptionKey,
    position::ClientPosition,
    recovery::RecoveryRequest,
    window::{ReadLimit, WindowEntry, WindowRead},
};

/// What is to be done with a subscription whose channel the broker carries to here.
enum Next {
    Begin(Missed),
    Wait(WaitsFor),
}

impl ShardState {
    /// How far a channel's lane has come here.
    pub(super) fn head(&self, hub: &Hub, channel: &str) -> Option<ClientPosition> {
        let lane = hub.lane(channel)?;
        self.heads.get(&lane).copied()
    }

    /// The broker carries this channel to here: the subscription begins, where the client was if that is possible.
    pub(super) fn admit(&mut self, hub: &Hub, key: SubscriptionKey) {
        let Some(subscription) = self.waiting(key) else {
            return;
        };
        let topic = subscription.topic;
        let since = subscription.waiting().and_then(|it| it.request.since);
        let next = match since {
            None => Next::Begin(Missed::NotAsked),
            Some(since) => {
                let channel = Channel::clone(&self.topics[topic].channel);
                self.look_back(hub, key, &channel, since)
            }
        };
        match next {
            Next::Begin(missed) => self.begin(hub, key, missed),
            Next::Wait(on) => {
                if let Some(waiting) = self.waiting(key).and_then(|it| it.waiting()) {
                    waiting.on = on;
                }
            }
        }
    }

    /// Looks for what a client has missed since it was last here.
    fn look_back(
        &mut self,
        hub: &Hub,
        key: SubscriptionKey,
        channel: &Channel,
        since: ClientPosition,
    ) -> Next {
        let Some(head) = self.head(hub, channel) else {
            return Next::Begin(Missed::Lost);
        };
        let index = key.session.index;
        if self.sessions[index as usize].outbox.bytes() > hub.limits().outbox_bytes / 2 {
            self.recovering.insert(index);
            return Next::Wait(WaitsFor::Outbox);
        }
        if since.is_after(&head) == Some(true) {
            let ticket = self.ahead.add(key, since, until(hub.limits()));
            return Next::Wait(WaitsFor::Head(ticket));
        }
        let found = match since.lane == head.lane {
            true => hub.log.window().read(channel, since, Some(head), cap(hub)),
            false => WindowRead::Lost,
        };
        match found {
            WindowRead::All(entries) => {
                hub.counts().from_window.fetch_add(1, Ordering::Relaxed);
                Next::Begin(Missed::All(entries))
            }
            WindowRead::Older if hub.backplane().history().is_some() => {
                let wanted = Arc::new(());
                let request = RecoveryRequest {
                    shard: self.index,
                    subscription: key,
                    channel: Channel::clone(channel),
                    after: since,
                    wanted: Arc::downgrade(&wanted),
                };
                match hub.reads.offer(request) {
                    true => Next::Wait(WaitsFor::Log { _wanted: wanted }),
                    false => Next::Begin(Missed::Lost),
                }
            }
            WindowRead::Older | WindowRead::TooMany | WindowRead::Lost => Next::Begin(Missed::Lost),
        }
    }

    /// The next of a session's subscriptions that waited for its outbox to empty.
    pub(super) fn next_recovering(&mut self, index: u32) -> Option<SubscriptionKey> {
        if self.recovering.is_empty() || !self.recovering.contains(&index) {
            return None;
        }
        let session = &mut self.sessions[index as usize];
        let serial = session.serial;
        let mut waiting = session
            .subscriptions
            .iter_mut()
            .filter_map(|it| it.waiting());
        let next = waiting.find(|it| matches!(it.on, WaitsFor::Outbox));
        let Some(next) = next else {
            self.recovering.remove(&index);
            return None;
        };
        let session = Key { index, serial };
        let serial = next.serial;
        Some(SubscriptionKey { session, serial })
    }

    /// Looks at the subscriptions that waited for this shard to come as far as their clients.
    pub(super) fn catch_up(&mut self, hub: &Hub) {
        if self.ahead.is_empty() {
            return;
        }
        for key in self.ahead.reached(&self.heads) {
            self.admit(hub, key);
        }
        if !hub.hears() {
            // It is this instance that is behind. What it gave these clients now they may have already.
            self.ahead.be_patient(until(hub.limits()));
        }
        for key in self.ahead.give_up(Instant::now()) {
            // Nobody has that position any more: the log was cut behind the client.
            self.begin(hub, key, Missed::Lost);
        }
    }

    /// A subscription's past has been read from the broker; the rest of it is in the window.
    pub(super) fn recovered(&mut self, hub: &Hub, answer: RecoveryAnswer) {
        let RecoveryAnswer {
            subscription: key,
            channel,
            found,
        } = answer;
        let waiting = self.waiting(key).and_then(|it| it.waiting());
        if !waiting.is_some_and(|it| matches!(it.on, WaitsFor::Log { .. })) {
            return;
        }
        let whole = found.and_then(|(entries, upto)| self.complete(hub, &channel, entries, upto));
        let missed = match whole {
            Some(entries) => {
                hub.counts().from_history.fetch_add(1, Ordering::Relaxed);
                Missed::All(entries)
            }
            None => Missed::Lost,
        };
        self.begin(hub, key, missed);
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
            let window = hub.log.window();
            let WindowRead::All(rest) = window.read_on(channel, upto, Some(head), cap(hub)) else {
                return None;
            };
            entries.extend(rest);
        }
        (entries.len() <= cap(hub).messages).then_some(entries)
    }

    /// The channel's messages reach this subscription from here on, after those that it missed.
    fn begin(&mut self, hub: &Hub, key: SubscriptionKey, missed: Missed) {
        let Some(subscription) = self.waiting(key) else {
            return;
        };
        let topic = subscription.topic;
        let tag = subscription.tag.clone();
        let presence = subscription
            .waiting()
            .and_then(|it| it.request.presence.take());
        let channel = Channel::clone(&self.topics[topic].channel);
        let index = key.session.index;
        let attends = presence.is_some();
        if let Some(presence) = presence
            && let Err(refusal) = self.attend(hub, &channel, index, *presence)
        {
            let error = (code(refusal), &*refusal.to_string());
            return self.reject(hub, key, error);
        }
        let Some(Waiting { request, again, .. }) = self.go_live(key) else {
            return;
        };
        if matches!(missed, Missed::Lost) {
            hub.counts().not_recovered.fetch_add(1, Ordering::Relaxed);
        }
        let (position, entries) = match missed {
            Missed::All(entries) => (request.since, Some(entries)),
            Missed::NotAsked | Missed::Lost => (self.head(hub, &channel), None),
        };
        let recovered = entries.is_some();
        let mut missed = entries.unwrap_or_default();
        missed.retain(|it| excluded(hub, self.index, it.encoded().message()) != Some(key.session));
        let features = self.sessions[index as usize]
            .setup
            .encoding
            .format
            .features();
        let inside: Vec<_> = match features.missed_inside {
            true => missed.iter().map(|it| it.encoded().message()).collect(),
            false => Vec::new(),
        };
        let most = hub.limits().presence_page;
        let members = (features.members_inside && attends).then(|| hub.members(&channel, most));
        let reply = Reply::Subscribed {
            reference: request.reference.as_deref(),
            channel: &channel,
            tag: tag.as_deref(),
            position,
            recovered,
            missed: &inside,
            members: members.as_ref(),
        };
        self.reply(hub, key.session, &reply);
        hub.count_deliveries(missed.len());
        if !features.missed_inside {
            self.give(hub, key.session, tag.as_deref(), &missed);
        }
        for request in again {
            self.subscribe_again(hub, key.session, &channel, (tag.clone(), request));
            self.answered(key.session);
        }
    }

    /// Lets a channel's messages reach a subscription. Returns what it waited with.
    fn go_live(&mut self, key: SubscriptionKey) -> Option<Waiting> {
        let subscription = self.waiting(key)?;
        let (topic, place) = (subscription.topic, subscription.place);
        let stage = std::mem::replace(&mut subscription.stage, Stage::Live);
        let sessions = &mut self.sessions;
        self.topics[topic].go_live(place, |other, place| {
            sessions[other.session as usize].subscriptions[other.at as usize].place = place;
        });
        match stage {
            Stage::Live => None,
            Stage::Waiting(waiting) => Some(*waiting),
        }
    }

    /// Queues what a client missed, beyond the outbox's limits.
    fn give(&mut self, hub: &Hub, key: Key, tag: Option<&str>, missed: &[WindowEntry]) {
        let Some(session) = found(&mut self.sessions, key).filter(|it| !it.is_ending()) else {
            return;
        };
        let encoding = session.setup.encoding;
        let heads = encoding.format.features().heads;
        for entry in missed {
            let frame = entry.frame(encoding, || hub.count_panic());
            let head = heads.then(|| encoding.head(tag, &frame));
            session.outbox.push_extra(head, frame);
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
