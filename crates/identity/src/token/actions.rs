//! A set of actions, as a token and a rule name them: subscribe, publish, history, presence.

use hubplane_hub::Action;

/// The actions that can be granted for channels, by their names in tokens and settings.
const NAMES: [(&str, Action); 4] = [
    ("subscribe", Action::Subscribe),
    ("publish", Action::Publish),
    ("history", Action::History),
    ("presence", Action::Presence),
];

/// A set of actions that concern channels. [`Action::Operate`] and [`Action::Metrics`] are never in
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// Returns the set with the action of this name as well; `None` if there is no such action.
    pub fn with(self, name: &str) -> Option<Self> {
        let at = NAMES.iter().position(|(known, _)| *known == name)?;
        Some(Self(self.0 | 1 << at))
    }

    /// Returns true if the action is in the set.
    pub fn contains(self, action: Action) -> bool {
        let at = NAMES.iter().position(|(_, known)| *known == action);
        at.is_some_and(|at| self.0 & 1 << at != 0)
    }

    /// Returns the actions' names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let known = NAMES.into_iter();
        known.filter_map(move |(name, action)| self.contains(action).then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_given() {
        let set = Actions::default()
            .with("history")
            .unwrap()
            .with("publish")
            .unwrap();
        assert!(set.contains(Action::History) && set.contains(Action::Publish));
        assert!(!set.contains(Action::Subscribe) && !set.contains(Action::Operate));
        assert_eq!(set.names().collect::<Vec<_>>(), ["publish", "history"]);
        for unknown in ["operate", "metrics", "Publish", "", "*"] {
            assert_eq!(set.with(unknown), None, "{unknown}");
        }
    }
}
