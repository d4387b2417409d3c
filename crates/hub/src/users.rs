//! How many sessions each user has on this instance. An entry goes with the user's last session, so
//! there are never more than sessions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    Hub,
    grant::{Grant, Who},
    limited::{Limit, Limited},
};

/// After how long to try again: by then one of the others may have ended.
const LATER: Duration = Duration::from_secs(1);

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<Arc<str>, usize>>);

impl Users {
    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many sessions the user of a grant has; 0 for a grant of no user.
    fn count(&self, grant: &Grant) -> usize {
        let count = user(grant).and_then(|name| self.all().get(name).copied());
        count.unwrap_or_default()
    }

    /// Counts a session of a grant's user.
    pub(crate) fn enter(&self, grant: &Grant) {
        if let Some(name) = user(grant) {
            *self.all().entry(Arc::clone(name)).or_default() += 1;
        }
    }

    /// Counts one session less.
    pub(crate) fn leave(&self, grant: &Grant) {
        let Some(name) = user(grant) else {
            return;
        };
        let mut all = self.all();
        if let Some(count) = all.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                all.remove(name);
            }
        }
    }
}

/// The user's name; keys may have the same.
fn user(grant: &Grant) -> Option<&Arc<str>> {
    grant.name.as_ref().filter(|_| grant.who == Who::User)
}

impl Hub {
    /// Returns an error if the grant's user can't have one more session on this instance. Several
    /// handshakes at once may all be let through; the shard then ends what is too much.
    ///
    /// # Errors
    /// `user_connections` is reached.
    pub fn has_room_for(&self, grant: &Grant) -> Result<(), Limited> {
        match self.users().count(grant) < self.limits().user_connections {
            true => Ok(()),
            false => {
                let (limit, after) = (Limit::UserConnections, LATER);
                self.counts().count_limited(limit);
                Err(Limited { limit, after })
            }
        }
    }

    /// Returns true if the grant's user, whose sessions are all counted, has too many of them.
    pub(crate) fn has_too_many(&self, grant: &Grant) -> bool {
        let too_many = self.users().count(grant) > self.limits().user_connections;
        if too_many {
            self.counts().count_limited(Limit::UserConnections);
        }
        too_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_outlives_the_last_session() {
        let users = Users::default();
        let mut ann = Grant::anonymous().named("ann");
        users.enter(&ann);
        assert_eq!(users.count(&ann), 0, "a name alone is no user");
        ann.who = Who::User;
        users.enter(&ann);
        users.enter(&ann);
        assert_eq!(users.count(&ann), 2);
        users.leave(&ann);
        users.leave(&ann);
        assert!(users.all().is_empty());
    }
}
