//! The answer to “may they?”, with its reason.

use std::fmt;

/// What was decided, by which rule, and why. Its text is for the operator: it tells how the rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number of the rule that covers the channel, from 1 in the order of the configuration.
    pub rule: Option<usize>,
    /// The reason, which holds the answer.
    pub why: Why,
}

/// The three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Allowed.
    Allow,
    /// Not allowed.
    Refuse,
    /// The endpoint decides. Where there is none, this is a refusal.
    Ask,
}

/// Why something is allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The rule lists the action for somebody like this.
    Listed,
    /// The rule does not list it.
    NotListed,
    /// The token does not say what stands at the rule's placeholders, and the rule lists nothing for other tokens.
    OtherClaims,
    /// The rule leaves it to the endpoint.
    Asked,
    /// The key or the token allows it, and no rule forbids it.
    Granted,
    /// The key or the token does not allow it.
    NotGranted,
    /// There are no rules about it, and the hub is open.
    Open,
    /// There are no rules about it, and nothing else allows it.
    Closed,
    /// No rule covers the channel.
    NoRule,
}

impl Decision {
    /// Returns the answer.
    pub fn answer(self) -> Answer {
        match self.why {
            Why::Listed | Why::Granted | Why::Open => Answer::Allow,
            Why::Asked => Answer::Ask,
            Why::NotListed | Why::OtherClaims | Why::NotGranted | Why::Closed | Why::NoRule => {
                Answer::Refuse
            }
        }
    }

    /// Returns true if it is allowed without asking the endpoint.
    pub fn is_allowed(self) -> bool {
        self.answer() == Answer::Allow
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = self.rule {
            write!(f, "rule {rule}: ")?;
        }
        self.why.fmt(f)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listed => "allowed: the rule lists it",
            Self::NotListed => "refused: the rule does not list it",
            Self::OtherClaims => {
                "refused: the token says something else at the pattern's placeholder"
            }
            Self::Asked => "the endpoint decides",
            Self::Granted => "allowed by the key or token itself",
            Self::NotGranted => "refused: the key or token does not allow it",
            Self::Open => "allowed: the hub is open, and no rule is about it",
            Self::Closed => "refused: no rule is about it, and neither a token nor a key allows it",
            Self::NoRule => "refused: no rule covers the channel",
        })
    }
}
