//! One subscription: to which channel, under which name of the client's, and what it still waits for.

use std::{sync::Arc, time::Instant};

use super::ahead::Ticket;
use crate::{
    command::{Ref, Tag},
    position::ClientPosition,
    presence::PresenceOptions,
    window::WindowEntry,
};

/// One subscription of a session, as the session keeps it.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The channel's number on this shard.
    pub(super) topic: u32,
    /// Its place in the channel's list.
    pub(super) place: u32,
    pub(super) stage: Stage,
    /// The client's own name for it, if its format has one.
    pub(super) tag: Option<Tag>,
}

/// Whether the channel's messages reach a subscription.
#[derive(Debug)]
pub(super) enum Stage {
    /// They do, and the client was told so.
    Live,
    /// Not yet.
    Waiting(Box<Waiting>),
}

/// A subscription that is not answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Tells it from all others of this shard, also from a later one of the same session to the same channel.
    pub(super) serial: u64,
    pub(super) request: Request,
    /// The same subscription was asked for again meanwhile; these get their answers after it.
    pub(super) again: Vec<Request>,
    pub(super) on: WaitsFor,
}

/// What a client asked.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) reference: Option<Ref>,
    pub(super) since: Option<ClientPosition>,
    pub(super) presence: Option<Box<PresenceOptions>>,
}

/// What has to happen before a subscription can begin.
#[derive(Debug)]
pub(super) enum WaitsFor {
    /// The broker confirms the interest in the channel.
    Interest,
    /// This shard is shown what the client has seen already, by another instance.
    Head(Ticket),
    /// The session's outbox empties.
    Outbox,
    /// The broker's log is read. The reading stops when `_wanted` is dropped.
    Log { _wanted: Arc<()> },
}

/// What a client is given of the messages that it missed.
#[derive(Debug)]
pub(super) enum Missed {
    /// It asked for none.
    NotAsked,
    /// It asked, but not all of them are there.
    Lost,
    /// All of them, oldest first.
    All(Vec<WindowEntry>),
}

impl Subscription {
    /// The client's own name for it, if it has one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub(super) fn waiting(&mut self) -> Option<&mut Waiting> {
        match &mut self.stage {
            Stage::Live => None,
            Stage::Waiting(waiting) => Some(waiting),
        }
    }

    /// Whether it waits, and under this serial number.
    pub(super) fn is(&self, serial: u64) -> bool {
        matches!(&self.stage, Stage::Waiting(waiting) if waiting.serial == serial)
    }
}

/// How long a shard may be behind what a client has seen elsewhere. By then it is known whether this instance is
/// deaf, so whoever still waits at a hub that hears has a position that no longer exists.
pub(super) fn behind(limits: &crate::Limits) -> std::time::Duration {
    limits.deaf_after.max(2 * limits.beacon_interval) + limits.beacon_interval
}

/// When a wait that begins now is over.
pub(super) fn until(limits: &crate::Limits) -> Instant {
    Instant::now() + behind(limits)
}
