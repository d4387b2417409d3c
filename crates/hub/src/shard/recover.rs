//! Subscriptions that go on where their client was: from the window, and where that is too short,
//! from the broker's log.
//!
//! A shard has been shown each lane up to its head. The window has that too, and perhaps more. It
//! is read up to the head and never further, because what comes after the head comes by mail. So
//! nothing is missed and nothing comes twice, without a look at any position on the way of a
//! delivery.
//!
//! A client is told either that it has everything (`recovered: true`) or that it does not; nothing
//! in between. Whatever can't be proved counts as lost.

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

/// What is to be done with a subscription once the broker carries its channel to this instance.
enum Next {
    Begin(Missed),
    Wait(WaitsFor),
}

impl ShardState {
    /// Returns how far a channel's lane has come on this shard. `None` if the shard has been shown
    /// nothing of it, or the broker has no positions.
    pub(super) fn head(&self, hub: &Hub, channel: &str) -> Option<ClientPosition> {
        let lane = hub.lane(channel)?;
        self.heads.get(&lane).copied()
    }

    /// Goes on with a subscription whose channel the broker carries to this instance: it begins,
    /// where the client was if that is possible, or it is noted what it waits for next. Does
    /// nothing if it no longer waits.
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

    /// Looks for what a client has missed since the position `since`, and decides whether that can
    /// be given now, must be waited for, or is lost.
    fn look_back(
        &mut self,
        hub: &Hub,
        key: SubscriptionKey,
        channel: &Channel,
        since: ClientPosition,
    ) -> Next {
        let Some(head) = self.head(hub, channel) else {
            // Without a head nothing can be compared with the client's position.
            return Next::Begin(Missed::Lost);
        };
        let index = key.session.index;
        // What was missed goes beyond the outbox's limit, so one channel's past must have left
        // before the next one's is queued.
        if self.sessions[index as usize].outbox.bytes() > hub.limits().outbox_bytes / 2 {
            self.recovering.insert(index);
            return Next::Wait(WaitsFor::Outbox);
        }
        // Another instance was faster, or the log was cut: see `ahead.rs`.
        if since.is_after(&head) == Some(true) {
            let ticket = self.ahead.add(key, since, until(hub.limits()));
            return Next::Wait(WaitsFor::Head(ticket));
        }
        // A position of another lane than the channel's says nothing about this channel.
        let found = match since.lane == head.lane {
            true => hub
                .log()
                .window()
                .read(channel, since, Some(head), cap(hub)),
            false => WindowRead::Lost,
        };
        match found {
            WindowRead::All(entries) => {
                hub.counts().from_window.fetch_add(1, Ordering::Relaxed);
                Next::Begin(Missed::All(entries))
            }
            WindowRead::Older if hub.backplane().history().is_some() => {
                // Held by the subscription alone: when it goes, the reader sees that nobody wants
                // the past.
                let wanted = Arc::new(());
                let request = RecoveryRequest {
                    shard: self.index,
                    subscription: key,
                    channel: Channel::clone(channel),
                    after: since,
                    wanted: Arc::downgrade(&wanted),
                };
                match hub.reads().offer(request) {
                    true => Next::Wait(WaitsFor::Log { _wanted: wanted }),
                    false => Next::Begin(Missed::Lost),
                }
            }
            WindowRead::Older | WindowRead::TooMany | WindowRead::Lost => Next::Begin(Missed::Lost),
        }
    }

    /// Returns the next of a session's subscriptions that waits for its outbox to empty. Forgets
    /// the session once it has none.
    pub(super) fn next_recovering(&mut self, index: u32) -> Option<SubscriptionKey> {
        if self.recovering.is_empty() || !self.recovering.contains(&index) {
            return None;
        }
        // `recovering` holds sessions, not subscriptions: a session has few of them, and most have
        // one.
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

    /// Goes on with the subscriptions that waited for this shard to come as far as their clients,
    /// and gives up on those that have waited long enough.
    pub(super) fn catch_up(&mut self, hub: &Hub) {
        if self.ahead.is_empty() {
            return;
        }
        for key in self.ahead.reached(&self.heads) {
            self.admit(hub, key);
        }
        if !hub.hears() {
            // This instance itself is behind. These clients may have what it would give them now.
            self.ahead.be_patient(until(hub.limits()));
        }
        for key in self.ahead.give_up(Instant::now()) {
            // This position exists no longer: the log was cut behind the client.
            self.begin(hub, key, Missed::Lost);
        }
    }

    /// Takes what was read of a subscription's past from the broker; the rest of it is in the
    /// window.
    /// Drops it if the subscription is gone or waits for something else by now.
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

    /// Joins what was read from the broker up to `upto` with what the window has from there to the
    /// head. Returns `None` if they don't meet, the lane began another epoch meanwhile, or it is
    /// too much.
    fn complete(
        &self,
        hub: &Hub,
        channel: &Channel,
        mut entries: Vec<WindowEntry>,
        upto: ClientPosition,
    ) -> Option<Vec<WindowEntry>> {
        let head = self.head(hub, channel)?;
        // A new epoch means that the chain broke while the log was read; the old positions are
        // void.
        if upto.epoch != head.epoch {
            return None;
        }
        // What is after the head comes by mail.
        entries.retain(|entry| entry.position().offset <= head.offset);
        if upto.offset < head.offset {
            let window = hub.log().window();
            let WindowRead::All(rest) = window.read_on(channel, upto, Some(head), cap(hub)) else {
                return None;
            };
            entries.extend(rest);
        }
        (entries.len() <= cap(hub).messages).then_some(entries)
    }

    /// Lets a subscription begin: the client is answered, then given what it missed, and the
    /// channel's messages reach it from here on. Nothing can come in between, since all of it
    /// happens in one turn of the shard.
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
        // Presence first: if it is refused there must be no subscription, so nothing may have been
        // told yet.
        if let Some(presence) = presence
            && let Err(refusal) = self.attend(hub, &channel, index, *presence)
        {
            let error = (code(refusal), &*refusal.to_string());
            return self.reject(hub, key, error);
        }
        let Some(Waiting { request, again, .. }) = self.go_live(key) else {
            return;
        };
        // Operators see by this count that clients must fetch their state again.
        if matches!(missed, Missed::Lost) {
            hub.counts().not_recovered.fetch_add(1, Ordering::Relaxed);
        }
        // A client that is not recovered is told where the channel stands now, to go on from there.
        let (position, entries) = match missed {
            Missed::All(entries) => (request.since, Some(entries)),
            Missed::NotAsked | Missed::Lost => (self.head(hub, &channel), None),
        };
        let recovered = entries.is_some();
        let mut missed = entries.unwrap_or_default();
        // What it published itself and does not want is kept from it here as in `deliver.rs`.
        missed.retain(|it| excluded(hub, self.index, it.encoded().message()) != Some(key.session));
        // What a format carries inside its answer, it asks for by these flags.
        let features = self.sessions[index as usize]
            .setup
            .encoding
            .format
            .features();
        // Some formats carry the missed messages inside the answer, others as pushes behind it.
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
        // The same subscription, asked for again meanwhile: those are answered now, in their order.
        for request in again {
            self.subscribe_again(hub, key.session, &channel, (tag.clone(), request));
            self.answered(key.session);
        }
    }

    /// Moves a subscription among those that receive its channel's messages. Returns what it waited
    /// with, `None` if it no longer waits.
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

    /// Queues what a client missed, beyond the outbox's limits: these frames are shared with the
    /// window, and `recovery_bytes` limits them instead.
    fn give(&mut self, hub: &Hub, key: Key, tag: Option<&str>, missed: &[WindowEntry]) {
        let Some(session) = found(&mut self.sessions, key).filter(|it| !it.is_ending()) else {
            return;
        };
        // Shared frames: what many clients missed is encoded once.
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

/// Returns how much one recovery may carry, in messages and bytes.
fn cap(hub: &Hub) -> ReadLimit {
    ReadLimit {
        messages: hub.limits().recovery_messages,
        bytes: hub.limits().recovery_bytes,
    }
}
