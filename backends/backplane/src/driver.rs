//! What a backend implements: [`Driver`] to be found and opened, [`Backplane`] for one open instance, [`History`] if
//! its broker keeps a log. The texts here are the contract; the conformance suite tests them.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    Address, Capabilities, Channel, Events, Outgoing, Position, Publication, Receipt, Result,
};

/// The static record by which a backend is found and opened: `pub static DRIVER` in each backend crate. It keeps no state;
/// that is in what [`Driver::open`] returns.
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync {
    /// The address schemes that it answers to. The usual one comes first; it is also the name of the backend in errors.
    fn schemes(&self) -> &'static [&'static str];

    /// What it promises. The same for every address.
    fn capabilities(&self) -> Capabilities;

    /// Connects one instance. Called once a process (tests: several times, each an instance of its own), on the
    /// runtime that the backend's tasks are to live on.
    ///
    /// When it returns, every publication that anybody publishes from now on to a channel of interest reaches
    /// `events`. Must end within 15 s: `Unavailable` where the broker can't be reached, `Config` where the
    /// address, a credential, a certificate or the broker's settings are wrong. It doesn't retry for longer; the
    /// caller decides.
    async fn open(&self, address: &Address) -> Result<Opened>;
}

/// One instance's connection to its broker.
#[derive(Debug)]
pub struct Opened {
    /// Publishes, and states which channels are wanted.
    pub backplane: Arc<dyn Backplane>,
    /// What arrives. The hub must read it: a full queue stops the backend from reading its broker.
    pub events: Events,
}

/// A broker, seen by one instance. Object-safe, since the broker is chosen at run time; nothing here is called per
/// delivered message.
///
/// A backend reconnects and resumes by itself, for ever, with a bounded and jittered delay, and says
/// `Event::Down` and `Event::Up`. It never retries a publish: the hub does, with the same id.
#[async_trait]
pub trait Backplane: fmt::Debug + Send + Sync {
    /// Publishes a batch: one result per item, in the items' order; items fail singly.
    ///
    /// May be called from several tasks at once. Keeps the order within a call and across the calls that one
    /// task makes one after another. Returns when the broker has answered for every item, or after 5 s, with
    /// `Unknown` for what was handed over without an answer and `Unavailable` for what surely never left. May be
    /// cancelled: what was handed over may still be published.
    ///
    /// Errors per item: `Unavailable`, `Unknown`, `Rejected` (payload over `max_payload`, a name that the
    /// broker can't carry exactly; nothing else of the batch is touched), `Closed`.
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>>;

    /// Adds channels to this instance's interest; adding one twice is the same as once. On return, what is
    /// published from now on to these channels arrives; more may arrive, as may other channels.
    ///
    /// Called by one task of the hub. While the broker is away it returns `Unavailable`, and the channels are
    /// subscribed on reconnection all the same; one that the broker refuses then is told by `Event::Refused`, and
    /// must not cost the others. `Rejected`: a name that the broker can't carry, or a channel that it forbids; then
    /// none of the call's channels is added. A backend with `Interest::Everything` returns at once. At most 5 s.
    async fn subscribe(&self, channels: &[Channel]) -> Result<()>;

    /// Removes channels from this instance's interest; removing one that is not there does nothing. Where
    /// interest is routed, nothing of these channels arrives once it has returned and the events queued before
    /// are taken. Called by one task of the hub. At most 5 s.
    async fn unsubscribe(&self, channels: &[Channel]) -> Result<()>;

    /// Which ordered part of the log a channel belongs to; `None` if there are no positions. Pure computation,
    /// called by the hub for every subscription. Changes only together with the epoch.
    fn lane(&self, channel: &str) -> Option<u32>;

    /// Reads anew: the hub has proof that nothing arrives any more although the connection looks well (what it
    /// published itself was acknowledged seconds ago and has not come back). The backend gives up what it reads
    /// with, makes a new one and goes on after the last event that it gave out; where it can't, a `Gap` comes
    /// first. Returns at once, and does nothing while it is under way already or after `close`.
    fn renew(&self);

    /// Reading back; `None` if there is no replay, known from the start and the same for ever.
    fn history(&self) -> Option<&dyn History>;

    /// Ends everything: connections closed, what the backend created for this instance alone removed from the
    /// broker, pending calls answered (`Closed`, or `Unknown` for a publish on its way), events ended. The
    /// events that were queued may still be taken. Within 5 s, also while blocked on a full event queue; a
    /// second call returns at once.
    async fn close(&self);
}

/// Reads the past from the broker's log. May be called from several tasks at once, and cancelled; one call takes at
/// most 5 s. A page may be shorter than asked for, even empty, with `more`: a long log is read in steps.
///
/// Errors: `PositionLost` where the log no longer reaches back to the position, or the position is of another epoch or
/// ahead of the log's end; `Unavailable`; `Closed`.
#[async_trait]
pub trait History: Send + Sync {
    /// Up to `limit` publications of `channel` after `after` (exclusive), oldest first; without `after` from the
    /// oldest that is kept.
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page>;

    /// Up to `limit` publications of a whole lane, whatever their channel, oldest first. The hub fills its window
    /// with it at the start, and looks for messages that its reading has passed over.
    async fn scan(&self, lane: u32, from: Start, limit: usize) -> Result<Page>;
}

/// Where a scan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this position (exclusive).
    After(Position),
    /// With the first message of this age or younger. The scan may begin earlier if the log can't tell so exactly, and
    /// begins with the oldest message if the log does not reach back so far.
    Recent {
        /// The age.
        age: Duration,
        /// More messages than this are not wanted: a log that can count may begin with the newest so many.
        most: usize,
    },
}

impl Start {
    /// Returns the start that takes everything of this age or younger, however many messages that are.
    pub const fn since(age: Duration) -> Self {
        let most = usize::MAX;
        Self::Recent { age, most }
    }
}

/// A part of the past: of a channel, or of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub publications: Vec<Publication>,
    /// Everything up to here is in this page. Give it as `after` to read the next page. `None` if the log is empty.
    pub upto: Option<Position>,
    /// True if the log holds more now.
    pub more: bool,
}
