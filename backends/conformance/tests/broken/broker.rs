//! The broker: a log for each space, and the instances that are connected. While it is down it takes nothing and tells
//! nobody. It is always sound; the faults are in the instances.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hubplane_backplane::{Outgoing, Position, Publication};

use super::instance::Instance;

/// Sound, and in this process: a case must fail because of the instance's fault alone.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    state: Mutex<State>,
}

/// Everything under one lock, so that each call sees one state.
#[derive(Debug, Default)]
struct State {
    down: bool,
    spaces: HashMap<String, Space>,
}

#[derive(Debug, Default)]
struct Space {
    /// Everything that was published, also what was trimmed.
    log: Vec<Publication>,
    /// How many of the oldest messages can no longer be read.
    trimmed: usize,
    /// How many instances were ever connected, which numbers them.
    joined: usize,
    /// The instances that are connected now, in the order in which they came.
    members: Vec<Arc<Instance>>,
}

/// There is one log for ever, so one epoch.
pub(crate) const EPOCH: u64 = 7;

/// The position of a message, counted from 1.
pub(crate) fn position(offset: usize) -> Position {
    Position {
        epoch: EPOCH,
        lane: 0,
        offset: offset as u128,
    }
}

/// The instance that publishes, and whether it is deaf to what it published itself.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) instance: &'a Arc<Instance>,
    pub(crate) deaf: bool,
}

impl Broker {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops or starts the broker, and tells every instance. Stopping twice is the same as once.
    ///
    /// The instances are told without the lock, as they may publish in turn.
    pub(crate) fn set_up(&self, up: bool) {
        let members: Vec<_> = {
            let mut state = self.locked();
            if state.down != up {
                return;
            }
            state.down = !up;
            let spaces = state.spaces.values();
            spaces.flat_map(|space| space.members.clone()).collect()
        };
        for member in members {
            if up { member.up() } else { member.down() }
        }
    }

    /// Connects an instance. `make` is given its number in the space and the end of the log.
    pub(crate) fn join(
        &self,
        space: &str,
        make: impl FnOnce(usize, Position) -> Arc<Instance>,
    ) -> Arc<Instance> {
        let mut state = self.locked();
        let space = state.spaces.entry(space.to_owned()).or_default();
        space.joined += 1;
        let instance = make(space.joined, position(space.log.len()));
        space.members.push(Arc::clone(&instance));
        instance
    }

    /// Disconnects an instance: it hears nothing more.
    pub(crate) fn leave(&self, space: &str, instance: &Arc<Instance>) {
        if let Some(space) = self.locked().spaces.get_mut(space) {
            space
                .members
                .retain(|member| !Arc::ptr_eq(member, instance));
        }
    }

    /// Appends a message and tells every instance. Returns `None` while the broker is down. Under one lock, so that all
    /// instances are told in the order of the log.
    pub(crate) fn publish(
        &self,
        space: &str,
        outgoing: &Outgoing,
        sender: Option<Sender<'_>>,
    ) -> Option<Position> {
        let mut state = self.locked();
        if state.down {
            return None;
        }
        let space = state.spaces.entry(space.to_owned()).or_default();
        let position = position(space.log.len() + 1);
        let publication = Publication {
            channel: Arc::clone(&outgoing.channel),
            data: outgoing.data.clone(),
            position: Some(position),
            id: outgoing.id.clone(),
            origin: outgoing.origin,
            tags: outgoing.tags.clone(),
        };
        space.log.push(publication.clone());
        // The publisher hears its own messages, too, as on a real broker.
        for member in &space.members {
            let own = sender.is_some_and(|sender| Arc::ptr_eq(sender.instance, member));
            if !(own && sender.is_some_and(|sender| sender.deaf)) {
                member.hear(publication.clone(), own);
            }
        }
        Some(position)
    }

    /// Calls `tell` with the end of the log, while nothing can be appended.
    ///
    /// Nothing while the broker is down: a backend could not ask then either.
    pub(crate) fn at_end(&self, space: &str, tell: impl FnOnce(Position)) {
        let state = self.locked();
        if let (false, Some(space)) = (state.down, state.spaces.get(space)) {
            tell(position(space.log.len()));
        }
    }

    /// Makes the log forget all that it holds now.
    pub(crate) fn trim(&self, space: &str) {
        let mut state = self.locked();
        let space = state.spaces.entry(space.to_owned()).or_default();
        space.trimmed = space.log.len();
    }

    /// Returns how many of the oldest messages are gone, and all messages, with those.
    pub(crate) fn log(&self, space: &str) -> (usize, Vec<Publication>) {
        let state = self.locked();
        let space = state.spaces.get(space);
        space
            .map(|space| (space.trimmed, space.log.clone()))
            .unwrap_or_default()
    }
}
