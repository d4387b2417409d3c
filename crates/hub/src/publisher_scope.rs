//! Whose ids a message's id is one of. An id suppresses only repetitions of its own publisher, so
//! nobody can silence another's message by guessing the id that it will have.
//!
//! The scope travels with the message in a header, so that all hubs tell publishers apart alike. It
//! is a hash: names of users are nobody's business on the broker. Messages of the hub's one key, of
//! other programs, and of hubs without a key have no such header, and share one scope: whoever may
//! publish there is trusted.

use std::sync::Arc;

use hubplane_backplane::{Outgoing, Tags};
use xxhash_rust::xxh3::xxh3_128;

use super::grant::{Grant, Who};

/// The message header that the scope travels in.
const HEADER: &str = "hubplane-by";

impl Grant {
    /// Marks a message as this publisher's. Needed only where the publisher gave it an id: the ids
    /// that hubs make are never repeated.
    pub fn mark(&self, outgoing: &mut Outgoing) {
        if outgoing.id.is_some()
            && let Some(scope) = self.scope()
        {
            outgoing.tags.push((HEADER.into(), scope));
        }
    }

    /// Returns the publisher's scope, `None` for the one that most share.
    fn scope(&self) -> Option<Arc<str>> {
        let kind = match (self.who, &self.name) {
            (Who::User, _) => "user",
            (Who::Key, Some(_)) => "key",
            (Who::Anonymous, _) if self.is_by_rules() => "anonymous",
            _ => return None,
        };
        // The kinds have no NUL, so no two publishers are written alike.
        let whole = format!("{kind}\0{}", self.name.as_deref().unwrap_or_default());
        Some(format!("{:032x}", xxh3_128(whole.as_bytes())).into())
    }
}

/// Returns the scope of a message's id, empty for the one that most share.
pub(super) fn of(tags: &Tags) -> &str {
    let found = tags.iter().find(|(name, _)| &**name == HEADER);
    found.map_or("", |(_, scope)| scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Action, Permissions};

    #[derive(Debug)]
    struct Everything;

    impl Permissions for Everything {
        fn allows(&self, _: Action, _: &str) -> bool {
            true
        }
    }

    #[test]
    fn each_publisher_has_a_scope_of_its_own() {
        let by = |who| Grant::by(who, Arc::new(Everything));
        let scope = |grant: Grant| {
            let mut outgoing = Outgoing::new("c", "x");
            grant.mark(&mut outgoing);
            assert!(outgoing.tags.is_empty(), "without an id");
            outgoing.id = Some("req-7".into());
            grant.mark(&mut outgoing);
            of(&outgoing.tags).to_owned()
        };
        let all = [
            scope(Grant::key()),
            scope(by(Who::Anonymous)),
            scope(by(Who::User).named("ann")),
            scope(by(Who::User).named("bob")),
            scope(by(Who::Key).named("ann")),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{all:?}");
        }
        assert_eq!(scope(Grant::anonymous()), "", "a hub without rules");
        assert_eq!(scope(by(Who::User).named("ann")), all[2], "always the same");
    }
}
