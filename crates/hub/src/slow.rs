//! What becomes of a client that takes less of a channel than is published there: the rule as a
//! value. `outbox/shaping.rs` carries it out; who is given which rule is decided elsewhere.

use std::{fmt, str::FromStr};

/// What happens to one subscription's messages when its client takes too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Slow {
    /// The session ends once too much waits for it.
    #[default]
    Disconnect,
    /// The oldest messages that wait are dropped, and one `gap` stands in their place.
    DropOldest,
    /// Only the newest message waits; each one replaces the one before it, and no `gap` tells.
    Latest,
}

impl Slow {
    /// All rules.
    pub const ALL: [Self; 3] = [Self::Disconnect, Self::DropOldest, Self::Latest];

    /// Returns the rule as it is written in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DropOldest => "drop-oldest",
            Self::Latest => "latest",
        }
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Slow {
    type Err = BadSlow;

    fn from_str(text: &str) -> Result<Self, BadSlow> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.as_str() == text).ok_or(BadSlow)
    }
}

/// The error for a text that names no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSlow;

impl fmt::Display for BadSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow is one of disconnect, drop-oldest, latest")
    }
}

impl std::error::Error for BadSlow {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_read_back_and_nothing_else_is() {
        for slow in Slow::ALL {
            assert_eq!(slow.to_string().parse(), Ok(slow));
        }
        for wrong in ["", "Latest", "drop_oldest", "latest "] {
            assert_eq!(wrong.parse::<Slow>(), Err(BadSlow));
        }
        assert_eq!(Slow::default(), Slow::Disconnect);
    }
}
