//! One thread's part of the hub: the sessions it owns, who of them listens to what, and how
//! messages reach them.
//!
//! Everything here is used from one thread, so a delivery takes no lock, no atomic and no wake-up.
//! What other threads have for a shard arrives as [`Mail`]. A shard knows neither HTTP nor a
//! client's bytes: it holds frames, and a session's socket is a trait.

mod ahead;
mod clock;
mod commands;
mod confirm;
mod deliver;
mod due;
mod mail;
mod presence;
mod pressure;
mod rates;
mod recover;
mod regrant;
mod shape;
mod subscribe;
pub(crate) mod subscription;
mod topic;
mod unwritten;

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::Instant,
};

use hubplane_backplane::Channel;
use slab::Slab;
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

pub use self::mail::Mailbox;
pub(super) use self::mail::{Mail, PublishedMail, RecoveryAnswer};
use self::{ahead::Ahead, topic::Topics, unwritten::Unwritten};
use super::{
    Hub,
    grant::{Authority, Nobody},
    key::Key,
    map::{HashMap, HashSet},
    position::ClientPosition,
    session::{Session, SessionSetup},
    session_rates::SessionRates,
};

/// How many mails are taken before the sessions that they touched are flushed.
const MAILS_AT_ONCE: usize = 256;
/// From this many sessions on, a flush takes so long that it pays to look first for more mail.
const MANY: usize = 64;
/// How many turns without news the shard waits for more mail before a long flush. The tasks between
/// socket and mail need a few turns.
const LOOKS: usize = 8;

/// One shard, shared by the tasks of its thread. No method may be called from within another one:
/// the state is in a `RefCell`, which is never borrowed across an await.
pub struct Shard {
    hub: Arc<Hub>,
    authority: Arc<dyn Authority>,
    state: RefCell<ShardState>,
}

/// The data of a shard, used by one thread only.
struct ShardState {
    sessions: Slab<Box<Session>>,
    topics: Topics,
    /// The last position of each lane that this shard has been shown.
    heads: HashMap<u32, ClientPosition>,
    /// Subscriptions from positions that this shard has not been shown yet.
    ahead: Ahead,
    /// Sessions with subscriptions that wait for the outbox to empty.
    recovering: HashSet<u32>,
    /// Channels for which the broker could not be asked, to be asked for again.
    unconfirmed: Vec<Channel>,
    /// When the broker was last asked again for them.
    asked_at: Instant,
    /// Presence by channel; channels without members and watchers of this shard are not here.
    attending: HashMap<Channel, presence::Attending>,
    /// How many channels each session is a member of; those of none are not here.
    memberships: HashMap<u32, usize>,
    /// How often each session has subscribed and published; those that did neither are not here.
    rates: HashMap<u32, SessionRates>,
    /// What clients are still to be told of presence.
    presence_mail: VecDeque<presence::PresenceMail>,
    unwritten: Unwritten,
    /// Bytes that wait for blocked sockets, of all sessions together.
    held: usize,
    /// How far this instance, which stops, has come in ending its sessions.
    drain: Option<clock::Drain>,
    next_serial: u32,
    next_subscription: u64,
    index: usize,
    stopped: bool,
}

/// What a session's reading task must know to decide whether it reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Written data waits for the socket: call [`Shard::flush`] once it is writable.
    pub blocked: bool,
    /// Don't read: too much of the client's waits for its answer.
    pub paused: bool,
    /// The last frame is queued: what the client still sends is read for its closing handshake only.
    pub ending: bool,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shard {
    /// Returns an empty shard; `mailbox` says which of the hub's it is. Its clients can't show who
    /// they are once they are connected.
    pub fn new(hub: Arc<Hub>, mailbox: &Mailbox) -> Rc<Self> {
        Self::with_authority(hub, mailbox, Arc::new(Nobody))
    }

    /// The same, for clients that may show `authority` who they are once they are connected.
    pub fn with_authority(
        hub: Arc<Hub>,
        mailbox: &Mailbox,
        authority: Arc<dyn Authority>,
    ) -> Rc<Self> {
        let state = ShardState {
            sessions: Slab::new(),
            topics: Topics::default(),
            heads: HashMap::default(),
            ahead: Ahead::default(),
            recovering: HashSet::default(),
            unconfirmed: Vec::new(),
            asked_at: Instant::now(),
            attending: HashMap::default(),
            memberships: HashMap::default(),
            rates: HashMap::default(),
            presence_mail: VecDeque::new(),
            unwritten: Unwritten::default(),
            held: 0,
            drain: None,
            next_serial: 0,
            next_subscription: 0,
            index: mailbox.index(),
            stopped: false,
        };
        Rc::new(Self {
            hub,
            authority,
            state: RefCell::new(state),
        })
    }

    /// Returns the hub that this shard is part of.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Takes in mail and watches the clock until the hub is closed. To be run once, on the shard's thread.
    pub async fn run(self: Rc<Self>, mut mailbox: Mailbox) {
        let mut clock = interval(clock::TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut mails = Vec::new();
        let mut more = false;
        loop {
            let open = tokio::select! {
                biased;
                // Mail before the clock: a pong that has been read must count before its time is
                // over.
                count = mailbox.receive(&mut mails, MAILS_AT_ONCE) => count > 0,
                () = self.next_due() => true,
                _ = clock.tick() => { self.guarded(ShardState::tick); true }
                () = yield_now(), if more => true,
            };
            let mut taken = mails.len();
            self.take(&mut mails);
            let mut looks = 0;
            while taken < MAILS_AT_ONCE && looks < LOOKS && self.has_much_to_flush() {
                yield_now().await;
                looks += 1;
                if mailbox.take(&mut mails, MAILS_AT_ONCE - taken) {
                    taken += mails.len();
                    self.take(&mut mails);
                    looks = 0;
                }
            }
            // In this order: what the mail has brought is queued first, and all is written at the
            // end.
            self.guarded(ShardState::send_due);
            self.guarded(ShardState::catch_up);
            self.guarded(|state, hub| more = state.tell_presence(hub));
            self.guarded(ShardState::flush_dirty);
            if !open || self.state.borrow().stopped {
                return;
            }
        }
    }

    fn take(&self, mails: &mut Vec<Mail>) {
        for mail in mails.drain(..) {
            self.guarded(|state, hub| state.take(hub, mail));
        }
    }

    fn has_much_to_flush(&self) -> bool {
        self.state.borrow().unwritten.dirty.len() >= MANY
    }

    /// Adds a session, and returns its key.
    pub fn open(&self, setup: SessionSetup) -> Key {
        self.state.borrow_mut().open(&self.hub, setup)
    }

    /// Ends a session at once, if it is still there.
    pub fn remove(&self, key: Key) {
        let mut state = self.state.borrow_mut();
        if state.session(key).is_some() {
            state.remove_index(&self.hub, key.index);
        }
    }

    /// Returns what the reading task must know, `None` once the session is gone. Wakes `waker` when
    /// it changes.
    pub fn status(&self, key: Key, waker: &Waker) -> Option<SessionStatus> {
        let mut state = self.state.borrow_mut();
        let session = state.session(key)?;
        if !session
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            session.waker = Some(waker.clone());
        }
        Some(SessionStatus {
            blocked: session.blocked_since.is_some(),
            paused: session.is_paused(self.hub.limits()),
            ending: session.is_ending(),
        })
    }

    /// Writes what a session has waiting: its socket is writable again.
    pub fn flush(&self, key: Key) {
        let mut state = self.state.borrow_mut();
        if state.session(key).is_some() {
            state.flush_one(&self.hub, key.index);
        }
    }

    /// Writes what commands have left to be sent.
    pub fn flush_dirty(&self) {
        self.state.borrow_mut().flush_dirty(&self.hub);
    }

    /// Runs `act` on the state. A panic costs only what it was about, not the thread and its other
    /// sessions.
    fn guarded(&self, act: impl FnOnce(&mut ShardState, &Hub)) {
        let acting = AssertUnwindSafe(|| act(&mut self.state.borrow_mut(), &self.hub));
        if catch_unwind(acting).is_err() {
            self.hub.count_panic();
        }
    }
}

/// Returns the session, `None` if it is gone.
fn found(sessions: &mut Slab<Box<Session>>, key: Key) -> Option<&mut Box<Session>> {
    // The place may belong to a later session by now.
    let session = sessions.get_mut(key.index as usize);
    session.filter(|session| session.serial == key.serial)
}

impl ShardState {
    /// Returns the session, `None` if it is gone.
    fn session(&mut self, key: Key) -> Option<&mut Box<Session>> {
        found(&mut self.sessions, key)
    }

    /// Flushes each dirty session once, in one write where that is enough.
    fn flush_dirty(&mut self, hub: &Hub) {
        // Taken out, since flushing may mark sessions again.
        let mut dirty = std::mem::take(&mut self.unwritten.dirty);
        for index in dirty.drain(..) {
            let Some(session) = self.sessions.get_mut(index as usize) else {
                continue;
            };
            session.dirty = false;
            // A blocked session is flushed by its own task, once the socket is writable.
            if session.blocked_since.is_none() {
                self.flush_one(hub, index);
            } else {
                self.weigh(index);
            }
        }
        self.relieve(hub);
        hub.counts().writes.fetch_add(
            std::mem::take(&mut self.unwritten.scratch.writes),
            Ordering::Relaxed,
        );
        // Sessions that were marked meanwhile stay listed, and the list keeps its room.
        dirty.append(&mut self.unwritten.dirty);
        self.unwritten.dirty = dirty;
    }

    fn flush_one(&mut self, hub: &Hub, index: u32) {
        loop {
            let session = &mut self.sessions[index as usize];
            if !session.flush(&mut self.unwritten.scratch) {
                return self.remove_index(hub, index);
            }
            self.weigh(index);
            let session = &self.sessions[index as usize];
            // What a client missed of its next channel is queued once that of the last has left.
            if !session.outbox.is_empty() {
                return;
            }
            let Some(next) = self.next_recovering(index) else {
                return;
            };
            self.admit(hub, next);
        }
    }

    fn remove_index(&mut self, hub: &Hub, index: u32) {
        self.sessions[index as usize].outbox.unshape_all();
        while let Some(last) = self.sessions[index as usize]
            .subscriptions
            .len()
            .checked_sub(1)
        {
            self.leave(hub, index, last);
        }
        let session = self.sessions.remove(index as usize);
        self.held -= session.held as usize;
        self.recovering.remove(&index);
        self.rates.remove(&index);
        hub.users().leave(&session.setup.grant);
        hub.count_session(self.index, -1);
        session.wake();
    }
}

#[cfg(test)]
mod tests;
