//! From an inbox to the queue of events: picks out the messages that are wanted, reads their
//! envelopes, and puts them into the queue in batches.
//!
//! Knows what a message on the broker looks like, and nothing of connections: it goes on with the
//! next inbox when the subscriber has a new connection.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use hubplane_backplane::{
    Channel, Event, EventSender, GapCause, Publication, Scope,
    wire::{self, Metadata},
};

use crate::{
    backend::{BATCH, BATCH_BYTES, NAME},
    config::PubSub,
    inbox::{Inbox, Raw},
    interest::{Interest, Wanted},
};
use hubplane_kit::LogLimiter;

/// The way from inboxes to the queue of events, for the life of an instance.
pub(crate) struct Outlet {
    pubsub: Arc<PubSub>,
    interest: Arc<Interest>,
    events: EventSender,
    /// Taken from the inbox, not yet in the queue.
    pending: VecDeque<Raw>,
    undecodable: LogLimiter,
}

impl Outlet {
    pub(crate) const fn new(
        pubsub: Arc<PubSub>,
        interest: Arc<Interest>,
        events: EventSender,
    ) -> Self {
        Self {
            pubsub,
            interest,
            events,
            pending: VecDeque::new(),
            undecodable: LogLimiter::new(),
        }
    }

    /// Puts an event into the queue, and waits for room. An error says that nobody takes events any
    /// more.
    pub(crate) async fn send(&self, event: Event) -> Result<(), ()> {
        self.events.send(event).await.or(Err(()))
    }

    /// Forwards messages until nobody takes events any more. May be dropped at any await: what was
    /// taken from the inbox stays in `pending`.
    pub(crate) async fn forward(&mut self, inbox: &Inbox) {
        loop {
            if self.pending.is_empty() {
                inbox.filled().await;
                inbox.take(BATCH, BATCH_BYTES, &mut self.pending);
            }
            if self.step().await.is_err() {
                return;
            }
        }
    }

    /// Forwards what has arrived, and returns when the inbox is empty.
    pub(crate) async fn empty(&mut self, inbox: &Inbox) {
        while !(self.pending.is_empty() && inbox.is_empty()) {
            inbox.take(BATCH, BATCH_BYTES, &mut self.pending);
            if self.step().await.is_err() {
                return;
            }
        }
    }

    /// Puts one event into the queue. The interest is looked at only when there is a place in the
    /// queue, and the lock is held until the event is sent: so nothing of a channel comes after its
    /// `unsubscribe` has returned.
    async fn step(&mut self) -> Result<(), ()> {
        let place = self.events.reserve().await.or(Err(()))?;
        let wanted = self.interest.lock();
        let mut publications = Vec::new();
        while let Some(raw) = self.pending.pop_front() {
            match decode(&self.pubsub, &wanted, &raw) {
                Decoded::Publication(publication) => publications.push(publication),
                Decoded::NotWanted => {}
                // What came before goes first, in an event of its own; then this message is met
                // again.
                Decoded::Undecodable(_) if !publications.is_empty() => {
                    self.pending.push_front(raw);
                    break;
                }
                Decoded::Undecodable(channel) => {
                    drop(wanted);
                    place.send(Event::Gap {
                        scope: Scope::Channels(vec![channel]),
                        cause: GapCause::Undecodable,
                    });
                    self.warn();
                    return Ok(());
                }
            }
        }
        if !publications.is_empty() {
            place.send(Event::Published(publications));
        }
        Ok(())
    }

    /// Logs that messages can't be read, at most once in ten seconds: whoever can publish could
    /// fill the log otherwise.
    fn warn(&mut self) {
        if let Some(count) = self.undecodable.due() {
            tracing::warn!(
                backend = NAME,
                count,
                "messages with an envelope that can't be read; their channels are told of a gap"
            );
        }
    }
}

/// What a message turned out to be.
enum Decoded {
    Publication(Publication),
    NotWanted,
    Undecodable(Channel),
}

/// Reads one message. A channel that isn't wanted is found out first, before anything is copied:
/// after an `unsubscribe` Redis may still send some.
fn decode(pubsub: &PubSub, wanted: &Wanted, raw: &Raw) -> Decoded {
    let channel = raw.channel.strip_prefix(pubsub.server.prefix.as_bytes());
    let channel = channel.and_then(|name| std::str::from_utf8(name).ok());
    let Some(channel) = channel.and_then(|name| wanted.get(name)) else {
        return Decoded::NotWanted;
    };
    let channel = Channel::clone(channel);
    let opened = match pubsub.envelope {
        true => wire::open(Bytes::clone(&raw.data)),
        false => Ok((Metadata::default(), Bytes::clone(&raw.data))),
    };
    match opened {
        Ok((metadata, data)) => Decoded::Publication(Publication {
            channel,
            data,
            position: None,
            id: metadata.id,
            origin: metadata.origin,
            tags: metadata.tags,
        }),
        Err(wire::Undecodable) => Decoded::Undecodable(channel),
    }
}
