//! Sets of actions, and the words that settings and tokens use for them.

use std::fmt;

use hubplane_hub::Action;

/// The words for what can be done with a channel. Reading metrics and operating concern no channel, so no rule and no token
/// has words for them.
const WORDS: [(&str, Action); 4] = [
    ("subscribe", Action::Subscribe),
    ("publish", Action::Publish),
    ("history", Action::History),
    ("presence", Action::Presence),
];

/// A set of what can be done with a channel.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);

    /// Returns every action on channels.
    pub fn all() -> Self {
        WORDS.into_iter().map(|(_, action)| action).collect()
    }

    /// Reads the words `subscribe`, `publish`, `history` and `presence`.
    ///
    /// # Errors
    /// A sentence that shows the first other word.
    pub fn parse<W: AsRef<str>>(words: &[W]) -> Result<Self, String> {
        let action = |word: &W| {
            let word = word.as_ref();
            Self::action(word).ok_or_else(|| {
                format!("{word:?} is no action: there are subscribe, publish, history and presence")
            })
        };
        words.iter().map(action).collect()
    }

    /// Returns the action of a word.
    pub(super) fn action(word: &str) -> Option<Action> {
        let known = WORDS.into_iter().find(|(known, _)| *known == word);
        known.map(|(_, action)| action)
    }

    /// Returns true if the action is in the set. [`Action::Metrics`] and [`Action::Operate`] never are.
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// Returns true if there is no action in the set.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Returns the actions that are in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the actions of both sets.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the set with the action of this word as well; `None` if there is no such action.
    pub fn with(self, word: &str) -> Option<Self> {
        let action = Self::action(word)?;
        Some(Self(self.0 | bit(action)))
    }

    /// Returns the words for the actions in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let own = WORDS
            .into_iter()
            .filter(move |(_, action)| self.contains(*action));
        own.map(|(word, _)| word)
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |set, it| set | bit(it)))
    }
}

/// Shows the words, separated by commas.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Returns the action's place in the set; an action on no channel has none.
fn bit(action: Action) -> u8 {
    WORDS
        .into_iter()
        .position(|(_, known)| known == action)
        .map_or(0, |place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_shown() {
        let some = Actions::parse(&["history", "subscribe", "history"]).unwrap();
        assert_eq!(some.to_string(), "subscribe, history");
        assert!(some.contains(Action::History) && !some.contains(Action::Publish));
        assert_eq!(Actions::parse::<&str>(&[]), Ok(Actions::NONE));
        let error = Actions::parse(&["subscribe", "Publish"]).unwrap_err();
        assert!(error.starts_with("\"Publish\" is no action"), "{error}");
    }

    #[test]
    fn operating_is_in_no_set() {
        assert!(!Actions::all().contains(Action::Operate));
        assert!(Actions::from_iter([Action::Operate, Action::Metrics]).is_empty());
        assert!(Actions::parse(&["operate"]).is_err() && Actions::parse(&["metrics"]).is_err());
    }

    #[test]
    fn sets_are_joined_and_cut() {
        let [a, b] = [["subscribe", "publish"], ["publish", "history"]]
            .map(|words| Actions::parse(&words).unwrap());
        assert_eq!(a.and(b).to_string(), "publish");
        assert_eq!(a.or(b).to_string(), "subscribe, publish, history");
    }
}
