//! The subscriptions that wait for the broker's log. Each session has its turn, however many of its subscriptions wait,
//! and one reading at a time; what a reading passes anyway is taken along.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use hubplane_backplane::Channel;
use tokio::sync::Notify;

use crate::{key::Key, key::SubscriptionKey, position::ClientPosition};

/// Requests that may wait, of all sessions.
const MOST: usize = 16 * 1_024;

/// A subscription whose past the window doesn't have.
#[derive(Debug)]
pub(crate) struct RecoveryRequest {
    pub(crate) shard: usize,
    pub(crate) subscription: SubscriptionKey,
    pub(crate) channel: Channel,
    pub(crate) after: ClientPosition,
    /// Dead once the subscription is gone: then nobody needs the answer.
    pub(crate) wanted: Weak<()>,
}

/// A session among all of this instance.
type SessionId = (usize, Key);
/// Lane, epoch and offset, and a number that tells equal ones apart.
type Place = (u32, u64, u128, u64);

impl RecoveryRequest {
    pub(super) const fn session(&self) -> SessionId {
        (self.shard, self.subscription.session)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.strong_count() > 0
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct RecoveryQueue {
    state: Mutex<State>,
    changed: Notify,
    /// Requests of one session.
    most_of_session: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    requests: BTreeMap<Place, RecoveryRequest>,
    /// The sessions' requests, in their order; some may be taken already.
    sessions: HashMap<SessionId, VecDeque<Place>>,
    /// Whose turn it is; sessions that something is read for just now are not among them.
    turns: VecDeque<SessionId>,
    /// Sessions that something is read for.
    served: HashSet<SessionId>,
}

impl RecoveryQueue {
    /// `most_of_session`: how many subscriptions a session may have.
    pub(crate) fn new(most_of_session: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            most_of_session,
        }
    }

    /// Adds a request. Returns false if too many wait.
    pub(crate) fn offer(&self, request: RecoveryRequest) -> bool {
        let mut state = self.lock();
        let session = request.session();
        if !state.has_room(session, self.most_of_session) {
            return false;
        }
        let ClientPosition {
            epoch,
            lane,
            offset,
            ..
        } = request.after;
        let place = (lane, epoch, offset, state.next);
        state.next += 1;
        state.requests.insert(place, request);
        let waiting = state.sessions.entry(session).or_default();
        let first = waiting.is_empty();
        waiting.push_back(place);
        if first && !state.served.contains(&session) {
            state.turns.push_back(session);
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Waits for the next request whose session has its turn. The turn lasts until a
    /// [`Turn`] ends it.
    pub(super) async fn next(&self) -> RecoveryRequest {
        loop {
            if let Some(request) = self.lock().take() {
                return request;
            }
            self.changed.notified().await;
        }
    }

    /// The turn of a request's session. It ends when the value is dropped.
    pub(super) const fn turn_of(&self, request: &RecoveryRequest) -> Turn<'_> {
        let session = request.session();
        Turn {
            queue: self,
            session,
        }
    }

    /// A session's reading is over: it may have another turn, after the others'.
    fn served(&self, session: SessionId) {
        let mut state = self.lock();
        state.served.remove(&session);
        if state.sessions.contains_key(&session) {
            state.turns.push_back(session);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes out the requests from positions between these two, both included, of one lane and epoch.
    pub(super) fn take_between(
        &self,
        from: ClientPosition,
        upto: ClientPosition,
    ) -> Vec<RecoveryRequest> {
        let mut state = self.lock();
        let place = |offset, number| (from.lane, from.epoch, offset, number);
        let between = place(from.offset, 0)..=place(upto.offset.max(from.offset), u64::MAX);
        let places: Vec<_> = state.requests.range(between).map(|(it, _)| *it).collect();
        let taken = places.iter().filter_map(|it| state.requests.remove(it));
        taken.filter(RecoveryRequest::is_wanted).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's turn; however it ends, the session may have another.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    queue: &'a RecoveryQueue,
    session: SessionId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.served(self.session);
    }
}

impl State {
    fn has_room(&mut self, session: SessionId, most_of_session: usize) -> bool {
        if self.sessions.get(&session).map_or(0, VecDeque::len) >= most_of_session {
            self.clean(session);
        }
        self.requests.len() < MOST
            && self.sessions.get(&session).map_or(0, VecDeque::len) < most_of_session
    }

    /// Drops a session's requests that are taken, or that nobody wants any more.
    fn clean(&mut self, session: SessionId) {
        let requests = &mut self.requests;
        if let Some(waiting) = self.sessions.get_mut(&session) {
            waiting.retain(|place| {
                let wanted = requests.get(place).is_some_and(RecoveryRequest::is_wanted);
                if !wanted {
                    requests.remove(place);
                }
                wanted
            });
        }
    }

    fn take(&mut self) -> Option<RecoveryRequest> {
        while let Some(session) = self.turns.pop_front() {
            self.clean(session);
            let waiting = self.sessions.get_mut(&session);
            let place = waiting.and_then(VecDeque::pop_front);
            if self.sessions.get(&session).is_some_and(VecDeque::is_empty) {
                self.sessions.remove(&session);
            }
            if let Some(request) = place.and_then(|place| self.requests.remove(&place)) {
                self.served.insert(session);
                return Some(request);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
