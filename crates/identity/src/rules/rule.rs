//! One rule, and what it says to somebody on a channel that its pattern covers.

use hubplane_hub::{Action, ChannelLimits};

use super::{decision::Why, subject::Subject};
use crate::{actions::Actions, pattern::Pattern};

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) pattern: Pattern,
    /// Who may do what; `None` if the rule sets limits alone.
    pub(super) allow: Option<Allow>,
    pub(super) limits: ChannelLimits,
}

/// Who may do what on a rule's channels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allow {
    /// Tokens that say what stands at the placeholders.
    pub(super) token: Actions,
    /// All other tokens.
    pub(super) other_token: Actions,
    pub(super) anonymous: Actions,
    /// `None` leaves it to the key.
    pub(super) key: Option<Actions>,
    /// What the endpoint decides for clients.
    pub(super) ask: Actions,
}

impl Rule {
    /// Returns true if every name that `later` covers is covered here, too. It may miss that where this pattern has
    /// placeholders.
    pub(super) fn hides(&self, later: &Self) -> bool {
        let (own, later) = (&self.pattern, &later.pattern);
        // In a name, a star can be covered by a star alone, which covers what it stands for as well.
        let by_stars = own.claims().next().is_none() && own.covers(&later.with_stars());
        by_stars || own.as_str() == later.as_str()
    }
}

impl Allow {
    /// Decides about a channel that the pattern covers.
    pub(super) fn decide(
        &self,
        pattern: &Pattern,
        (subject, action): (&Subject, Action),
        channel: &str,
    ) -> Why {
        if !subject.may(action, channel) {
            return Why::NotGranted;
        }
        let listed = match subject {
            Subject::Key(_) => match self.key {
                Some(key) => key,
                None => return Why::Granted,
            },
            Subject::Token { claims, .. } if !pattern.fits(channel, claims) => {
                let listed = self.other_token.contains(action);
                return if listed {
                    Why::Listed
                } else {
                    Why::OtherClaims
                };
            }
            _ if self.ask.contains(action) => return Why::Asked,
            Subject::Token { .. } => self.token,
            Subject::Anonymous => self.anonymous,
        };
        if listed.contains(action) {
            Why::Listed
        } else {
            Why::NotListed
        }
    }

    /// Returns what could be allowed to a client like this on one of the channels.
    pub(super) fn most(&self, client: &Subject) -> Actions {
        let listed = match client {
            Subject::Token { .. } => self.token.or(self.other_token),
            _ => self.anonymous,
        };
        listed.or(self.ask)
    }
}
