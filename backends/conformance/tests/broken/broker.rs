//! The broker: a log a space, and who is connected. Down, it takes nothing and tells nobody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hubplane_backplane::{Outgoing, Position, Publication};

use super::instance::Instance;

#[derive(Debug, Default)]
pub(crate) struct Broker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    down: bool,
    spaces: HashMap<String, Space>,
}

#[derive(Debug, Default)]
struct Space {
    log: Vec<Publication>,
    trimmed: usize,
    members: Vec<Arc<Instance>>,
}

pub(crate) const EPOCH: u64 = 7;

pub(crate) fn position(offset: usize) -> Position {
    Position {
        epoch: EPOCH,
        lane: 0,
        offset: offset as u128,
    }
}

impl Broker {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_up(&self, up: bool) {
        let members: Vec<_> = {
            let mut state = self.locked();
            state.down = !up;
            state
                .spaces
                .values()
                .flat_map(|space| space.members.iter().cloned())
                .collect()
        };
        for member in members {
            if up { member.up() } else { member.down() }
        }
    }

    pub(crate) fn join(&self, space: &str, instance: &Arc<Instance>) {
        let mut state = self.locked();
        state
            .spaces
            .entry(space.to_owned())
            .or_default()
            .members
            .push(Arc::clone(instance));
    }

    pub(crate) fn leave(&self, space: &str, instance: &Arc<Instance>) {
        if let Some(space) = self.locked().spaces.get_mut(space) {
            space
                .members
                .retain(|member| !Arc::ptr_eq(member, instance));
        }
    }

    /// Appends and tells everybody; `None` while down.
    pub(crate) fn publish(
        &self,
        space: &str,
        outgoing: &Outgoing,
        silent_for: Option<&Instance>,
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
        for member in &space.members {
            if silent_for.is_none_or(|silent| !std::ptr::eq(silent, &raw const **member)) {
                member.hear(publication.clone());
            }
        }
        Some(position)
    }

    pub(crate) fn outside(&self, space: &str, channel: &str, data: &[u8]) {
        self.publish(space, &Outgoing::new(channel, data.to_vec()), None);
    }

    pub(crate) fn trim(&self, space: &str) {
        let mut state = self.locked();
        let space = state.spaces.entry(space.to_owned()).or_default();
        space.trimmed = space.log.len();
    }

    /// How much of a space's log is gone, and all of it.
    pub(crate) fn log(&self, space: &str) -> (usize, Vec<Publication>) {
        let state = self.locked();
        state
            .spaces
            .get(space)
            .map(|space| (space.trimmed, space.log.clone()))
            .unwrap_or_default()
    }
}
