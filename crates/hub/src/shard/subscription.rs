//! One subscription as a value: to which channel, under which of the client's names, and what it
//! still waits for.
//!
//! What it waits for is one enum, so it waits for one thing at a time. An answer from elsewhere
//! names a subscription by its serial number: what was read for one that is gone reaches nobody.

use std::{sync::Arc, time::Instant};

use super::ahead::Ticket;
use crate::{
    command::{Ref, Tag},
    max_rate::MaxRate,
    position::ClientPosition,
    presence::PresenceOptions,
    window::WindowEntry,
};

/// One subscription of a session, as the session's list keeps it.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The channel's number on this shard.
    pub(super) topic: u32,
    /// Its place in the channel's list.
    pub(super) place: u32,
    /// Tells whether the channel's messages reach it.
    pub(super) stage: Stage,
    /// The client's own name for it, if its format has one.
    pub(super) tag: Option<Tag>,
}

/// How far a subscription has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// The channel's messages reach it, and the client was told so.
    Live,
    /// The client is not answered yet. Boxed, so that a live subscription stays small.
    Waiting(Box<Waiting>),
}

/// A subscription that is not answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Tells it from all others of this shard, also from a later one of the same session to the same channel.
    pub(super) serial: u64,
    /// What the client asked; answered when the subscription begins.
    pub(super) request: Request,
    /// The same subscription was asked for again meanwhile; these get their answers after it.
    pub(super) again: Vec<Request>,
    /// What has to happen next.
    pub(super) on: WaitsFor,
}

/// What a client asked with a subscribe.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The client's own reference for the command, given back in the answer.
    pub(super) reference: Option<Ref>,
    /// The last position that the client has seen in this channel, if it wants what came after.
    pub(super) since: Option<ClientPosition>,
    /// How it takes part in presence; `None` leaves that as it is.
    pub(super) presence: Option<Box<PresenceOptions>>,
    /// How many messages a second it wants at most; `None` leaves that as it is.
    pub(super) max_rate: Option<MaxRate>,
}

/// What has to happen before a subscription can begin.
#[derive(Debug)]
pub(super) enum WaitsFor {
    /// The broker must confirm the interest in the channel.
    Interest,
    /// This shard must be shown what the client has seen already at another instance.
    Head(Ticket),
    /// The session's outbox must empty, since what was missed may be large.
    Outbox,
    /// The broker's log is being read. The reading stops when `_wanted` is dropped.
    Log { _wanted: Arc<()> },
}

/// What a client is given of the messages that it missed. There is no partial answer.
#[derive(Debug)]
pub(super) enum Missed {
    /// It did not ask for any.
    NotAsked,
    /// It asked, but they are not all there: it must fetch the state again.
    Lost,
    /// All of them, oldest first.
    All(Vec<WindowEntry>),
}

impl Subscription {
    /// The client's own name for it, if it has one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns what it waits with, `None` if it is live.
    pub(super) fn waiting(&mut self) -> Option<&mut Waiting> {
        match &mut self.stage {
            Stage::Live => None,
            Stage::Waiting(waiting) => Some(waiting),
        }
    }

    /// Returns true if it still waits, and under this serial number.
    pub(super) fn is(&self, serial: u64) -> bool {
        matches!(&self.stage, Stage::Waiting(waiting) if waiting.serial == serial)
    }
}

/// Returns how long a shard may be behind what a client has seen elsewhere. By then it is known
/// whether this instance is deaf; so a client that still waits at a hub that hears has a position
/// that no longer exists.
pub(super) fn behind(limits: &crate::Limits) -> std::time::Duration {
    limits.deaf_after.max(2 * limits.beacon_interval) + limits.beacon_interval
}

/// Returns when a wait that begins now is over.
pub(super) fn until(limits: &crate::Limits) -> Instant {
    Instant::now() + behind(limits)
}
