//! Rules of the configuration: who may do what on which channels, and which limits hold there.
//!
//! The first rule whose pattern covers the channel decides, for everybody: what stands at a placeholder decides *what* the
//! rule says, never *whether* it is this rule that speaks. So the channels of `user.{sub}.*` are closed to other users even if
//! a wide rule such as `*` follows, and a channel's limits are the same for all.
//!
//! What a token or a key brings along is an upper bound beside the rules: both have to allow it. “No rule about it” below
//! means: no rule with `allow` or `endpoint` at all, or the one that covers the channel sets limits alone.
//!
//! | who | no rule about it | rules, none covers the channel | the rule lists the action | it does not | it is in `endpoint` |
//! |---|---|---|---|---|---|
//! | anonymous | open hub: all but publish; else what the setting `anonymous` lists | no | yes (`anonymous`) | no | ask |
//! | token without permissions | no | no | yes (`token`) | no | ask |
//! | token whose permissions allow it | yes | no | yes (`token`) | no | ask |
//! | token whose permissions do not | no | no | no | no | no |
//! | any of these, not saying what stands at a placeholder | – | – | yes (`other_token`), if its permissions do not forbid it | no | no |
//! | key that allows it | yes | yes | yes (`key`, or no such list) | no | as without `endpoint` |
//! | key that does not | no | no | no | no | no |
//!
//! A key speaks for a backend, so placeholders stand for anything there, and what no rule covers is the key's own affair: deny
//! by default is for clients. Operating the hub concerns no channel: keys alone allow it.
//!
//! This module must not know sockets, time or how a token is checked. A decision takes time in the number of rules and in the
//! lengths of their patterns and of the name, and no more.

mod config;
mod decision;
mod rule;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use hubplane_hub::{Action, ChannelLimits};

use self::rule::Rule;
pub use self::{
    config::{AllowConfig, RuleConfig},
    decision::{Answer, Decision, Why},
    subject::Subject,
};
use crate::actions::Actions;

/// The most rules: each decision looks at all of them in the worst case.
const MAX_RULES: usize = 1_000;

/// What clients may do that showed nothing, where there are no rules about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutRules {
    /// All but publishing, as [`Grant::anonymous`](hubplane_hub::Grant::anonymous) says.
    Open,
    /// These actions.
    Anonymous(Actions),
}

/// The rules in their order.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Box<[Rule]>,
    /// True if one of the rules is about permissions, so that what none covers is refused.
    guarded: bool,
    without_rules: WithoutRules,
}

impl Rules {
    /// Reads the rules of a configuration.
    ///
    /// # Errors
    /// A sentence with the rule's number, from 1, and its field: a text is wrong, a rule contradicts itself, or it is never
    /// reached because an earlier one covers all of its channels. Also for more than a thousand rules.
    pub fn new(configs: &[RuleConfig], without_rules: WithoutRules) -> Result<Self, String> {
        if configs.len() > MAX_RULES {
            return Err(format!(
                "channel: {} rules; there may be {MAX_RULES}",
                configs.len()
            ));
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(configs.len());
        for (number, config) in (1..).zip(configs) {
            let rule = config
                .check()
                .map_err(|error| format!("rule {number}: {error}"))?;
            if let Some(earlier) = rules.iter().position(|earlier| earlier.hides(&rule)) {
                return Err(format!(
                    "rule {number}: match: {:?} is never reached, since rule {} ({:?}) covers all of its channels; put the \
                     narrower one first",
                    rule.pattern.as_str(),
                    earlier + 1,
                    rules[earlier].pattern.as_str(),
                ));
            }
            rules.push(rule);
        }
        Ok(Self {
            guarded: rules.iter().any(|rule| rule.allow.is_some()),
            rules: rules.into(),
            without_rules,
        })
    }

    /// Returns the claims that the patterns need, each once: what has to be kept of a token.
    pub fn claims(&self) -> BTreeSet<&str> {
        let patterns = self.rules.iter().map(|rule| &rule.pattern);
        patterns.flat_map(|pattern| pattern.claims()).collect()
    }

    /// Decides whether somebody may do this on a channel, whose name has passed [`check`](hubplane_hub::channel::check).
    pub fn decide(&self, subject: &Subject, action: Action, channel: &str) -> Decision {
        if !Actions::all().contains(action) {
            let why = match subject {
                Subject::Key(_) => self.without_rules(subject, action, channel),
                _ => Why::NotGranted,
            };
            return Decision { rule: None, why };
        }
        let found = self.covering(channel);
        let why = match found {
            Some((_, rule)) => match &rule.allow {
                Some(allow) => allow.decide(&rule.pattern, (subject, action), channel),
                None => self.without_rules(subject, action, channel),
            },
            None if self.guarded && !matches!(subject, Subject::Key(_)) => Why::NoRule,
            None => self.without_rules(subject, action, channel),
        };
        let rule = found.map(|(number, _)| number);
        Decision { rule, why }
    }

    /// Returns false if [`Self::decide`] refuses the action on every channel, as far as the lists tell without a channel.
    pub fn allows_somewhere(&self, subject: &Subject, action: Action) -> bool {
        if !subject.may_somewhere(action) {
            return false;
        }
        let without_rules = match subject {
            // What no rule covers is the key's own affair.
            Subject::Key(_) => return true,
            Subject::Token { permissions, .. } => permissions.is_some(),
            Subject::Anonymous => self.is_open_for(action),
        };
        let by_rule = |rule: &Rule| match &rule.allow {
            Some(allow) => allow.most(subject).contains(action),
            None => without_rules,
        };
        (without_rules && !self.guarded) || self.rules.iter().any(by_rule)
    }

    /// Returns the limits of the first rule that covers the channel, or the default.
    pub fn limits(&self, channel: &str) -> ChannelLimits {
        self.covering(channel)
            .map_or_else(ChannelLimits::default, |(_, rule)| rule.limits)
    }

    /// Returns true if some rule says who may do what, so that what none covers is refused.
    pub(crate) const fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Returns true if some rule says what keys may do, or has limits, which hold for them, too.
    pub(crate) fn limits_keys(&self) -> bool {
        self.rules.iter().any(|rule| {
            let is_about_keys = rule.allow.as_ref().is_some_and(|allow| allow.key.is_some());
            is_about_keys || rule.limits != ChannelLimits::default()
        })
    }

    /// Decides where no rule says who may do what.
    fn without_rules(&self, subject: &Subject, action: Action, channel: &str) -> Why {
        match subject {
            Subject::Anonymous if self.is_open_for(action) => Why::Open,
            Subject::Anonymous
            | Subject::Token {
                permissions: None, ..
            } => Why::Closed,
            _ if subject.may(action, channel) => Why::Granted,
            _ => Why::NotGranted,
        }
    }

    fn is_open_for(&self, action: Action) -> bool {
        match self.without_rules {
            WithoutRules::Open => action != Action::Publish,
            WithoutRules::Anonymous(allowed) => allowed.contains(action),
        }
    }

    /// Returns the first rule that covers the channel, and its number.
    fn covering(&self, channel: &str) -> Option<(usize, &Rule)> {
        let mut all = (1..).zip(&self.rules);
        all.find(|(_, rule)| rule.pattern.covers(channel))
    }
}
