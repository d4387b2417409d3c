//! The subscriptions that wait for the broker's log. Pure, apart from the wake-up.
//!
//! Each session has its turn and one reading at a time, however many of its subscriptions wait, so
//! that many old positions of one client don't hold up another client. What a reading passes anyway
//! is taken along.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use hubplane_backplane::Channel;
use tokio::sync::Notify;

use crate::{key::Key, key::SubscriptionKey, position::ClientPosition};

/// The most requests that may wait, of all sessions.
const MOST: usize = 16 * 1_024;

/// A subscription whose past the window doesn't have, as a request to read it.
#[derive(Debug)]
pub(crate) struct RecoveryRequest {
    pub(crate) shard: usize,
    pub(crate) subscription: SubscriptionKey,
    pub(crate) channel: Channel,
    pub(crate) after: ClientPosition,
    /// Dead once the subscription is gone. Then nobody needs the answer.
    pub(crate) wanted: Weak<()>,
}

/// A session among all of this instance: its shard and its key there.
type SessionId = (usize, Key);
/// Lane, epoch and offset, and a number that tells equal ones apart. In this order, so that
/// requests of neighbouring places are neighbours.
type Place = (u32, u64, u128, u64);

impl RecoveryRequest {
    /// Returns the session that the request is for.
    pub(super) const fn session(&self) -> SessionId {
        (self.shard, self.subscription.session)
    }

    /// Returns true while somebody needs the answer.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.strong_count() > 0
    }
}

/// The queue of all requests of this instance.
#[derive(Debug)]
pub(crate) struct RecoveryQueue {
    state: Mutex<State>,
    /// Wakes the task that reads.
    changed: Notify,
    /// The most requests of one session.
    most_of_session: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers the requests, so that equal places can be told apart.
    next: u64,
    /// All requests by their places.
    requests: BTreeMap<Place, RecoveryRequest>,
    /// Each session's requests in their order. Some may have been taken along already.
    sessions: HashMap<SessionId, VecDeque<Place>>,
    /// Whose turn is next. Sessions for which something is being read are not here.
    turns: VecDeque<SessionId>,
    /// Sessions for which something is being read.
    served: HashSet<SessionId>,
}

impl RecoveryQueue {
    /// An empty queue; `most_of_session` is how many subscriptions a session may have.
    pub(crate) fn new(most_of_session: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            most_of_session,
        }
    }

    /// Adds a request. Returns false, and keeps nothing, if too many wait.
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
        // A session that is being read for gets its next turn when that is over.
        if first && !state.served.contains(&session) {
            state.turns.push_back(session);
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Waits for the next request whose session has its turn. The turn lasts until the [`Turn`] of
    /// the request is dropped.
    pub(super) async fn next(&self) -> RecoveryRequest {
        loop {
            if let Some(request) = self.lock().take() {
                return request;
            }
            self.changed.notified().await;
        }
    }

    /// Returns the turn of a request's session. It ends when the value is dropped.
    pub(super) const fn turn_of(&self, request: &RecoveryRequest) -> Turn<'_> {
        let session = request.session();
        Turn {
            queue: self,
            session,
        }
    }

    /// Ends a session's reading: it may have another turn, after the others.
    fn served(&self, session: SessionId) {
        let mut state = self.lock();
        state.served.remove(&session);
        if state.sessions.contains_key(&session) {
            state.turns.push_back(session);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes out the requests whose positions lie between these two, both included, in one lane and
    /// epoch. Those that nobody wants any more are dropped.
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

/// A session's turn. However it ends, the session may have another one.
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
    /// Returns true if one more request of this session fits. Dead ones are dropped first.
    fn has_room(&mut self, session: SessionId, most_of_session: usize) -> bool {
        if self.sessions.get(&session).map_or(0, VecDeque::len) >= most_of_session {
            self.clean(session);
        }
        self.requests.len() < MOST
            && self.sessions.get(&session).map_or(0, VecDeque::len) < most_of_session
    }

    /// Drops a session's requests that have been taken, or that nobody wants any more.
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

    /// Takes the next request of the session whose turn it is, `None` if nothing waits.
    fn take(&mut self) -> Option<RecoveryRequest> {
        // A session whose requests are all gone loses its turn.
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
