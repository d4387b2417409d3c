//! What a server lets in: which origins and hosts, and who gets which grant.
//!
//! A proof is a key or a token; whichever shows one and is not accepted gets an error, not the
//! rights of anybody. What must hold: as soon as anything here says who is who, those who show
//! nothing may do nothing that is not allowed to them by a rule or by [`AccessConfig::anonymous`].

use std::{fmt, sync::Arc};

use http::{HeaderMap, header};
use hubplane_hub::{Action, Authority, Grant, Permissions, Unproven, Who};

use crate::{
    Actions, KeyGrant, Keys, Reloaded,
    host::Hosts,
    origin,
    rules::{Decision, RuleConfig, Rules, Subject, WithoutRules},
};

/// What an [`Access`] is made of. By default nobody is known, and everybody may do everything.
#[derive(Debug, Default)]
pub struct AccessConfig {
    /// Keys of programs.
    pub keys: Keys,
    /// Rules for channels, in their order.
    pub rules: Vec<RuleConfig>,
    /// What clients may do that show nothing, on channels that no rule is about. It counts only
    /// where there are keys; without any they may do everything.
    pub anonymous: Actions,
    /// Origins of pages that may connect, each as [`parse_origin`](crate::parse_origin) returns it;
    /// [`ANY`](crate::ANY) allows all, none means pages of this server's own host.
    pub origins: Vec<String>,
    /// The names that this server answers to.
    pub hosts: Hosts,
}

/// What a server lets in. Shared by all who ask.
#[derive(Debug)]
pub struct Access {
    keys: Keys,
    rules: Arc<Rules>,
    /// What somebody may do who shows nothing.
    anonymous: Grant,
    origins: Vec<String>,
    hosts: Hosts,
}

/// Lets everybody do everything, from pages of the server's own host.
impl Default for Access {
    fn default() -> Self {
        Self::new(AccessConfig::default()).expect("invariant: no rule is no wrong rule")
    }
}

/// The permissions of one who shows something, or of those who show nothing.
#[derive(Debug)]
struct Decides {
    rules: Arc<Rules>,
    subject: Subject,
}

impl Permissions for Decides {
    fn allows(&self, action: Action, channel: &str) -> bool {
        let decision = self.rules.decide(&self.subject, action, channel);
        decision.is_allowed()
    }

    fn allows_somewhere(&self, action: Action) -> bool {
        self.rules.allows_somewhere(&self.subject, action)
    }
}

impl Access {
    /// Checks a configuration.
    ///
    /// # Errors
    /// A sentence that names the rule which is wrong.
    pub fn new(config: AccessConfig) -> Result<Self, String> {
        let AccessConfig {
            keys,
            rules,
            anonymous,
            origins,
            hosts,
        } = config;
        let nobody_is_known = keys.is_empty();
        let without_rules = match nobody_is_known {
            true => WithoutRules::Open,
            false => WithoutRules::Anonymous(anonymous),
        };
        let has_rules = !rules.is_empty();
        let rules = Arc::new(Rules::new(&rules, without_rules)?);
        let anonymous = match (nobody_is_known, has_rules) {
            // Nobody can show anything, so everybody is trusted, also with publishing.
            (true, false) => Grant::key(),
            _ => grant(&rules, Who::Anonymous, Subject::Anonymous),
        };
        Ok(Self {
            keys,
            rules,
            anonymous,
            origins,
            hosts,
        })
    }

    /// Returns what a request may do, by `Authorization: Bearer …` (RFC 6750, 2.1). A request
    /// without that header may do what anybody may. If the hub knows nobody, the header is ignored.
    ///
    /// # Errors
    /// The header is there and what it shows is not accepted. Such a client is told so, and not let
    /// in as anybody.
    pub fn grant_of(&self, headers: &HeaderMap) -> Result<Grant, Unproven> {
        if !self.knows_somebody() {
            return Ok(self.anonymous.clone());
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(self.anonymous.clone());
        };
        let given = value.to_str().ok().and_then(|text| {
            let (scheme, proof) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| proof.trim())
        });
        match given {
            Some(proof) => self.prove(proof),
            None => Err(Unproven("write Authorization: Bearer …".into())),
        }
    }

    /// Returns what somebody may do who shows this key or token. Never waits.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn prove(&self, proof: &str) -> Result<Grant, Unproven> {
        match self.keys.find(proof) {
            Some(key) => Ok(self.grant_of_key(key)),
            None => Err(Unproven("the key is wrong".into())),
        }
    }

    fn grant_of_key(&self, key: Arc<KeyGrant>) -> Grant {
        // The usual hub: one key that allows everything, shared by all sessions that show it.
        if key.is_for_everything() && !self.rules.limits_keys() {
            return Grant::key();
        }
        let name = key.name().to_owned();
        grant(&self.rules, Who::Key, Subject::Key(key)).named(name)
    }

    /// Returns true if somebody can show who they are. Without that, the hub is open to all who
    /// reach it.
    pub fn knows_somebody(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Returns what is decided for somebody, and why.
    ///
    /// # Errors
    /// The proof is not accepted.
    pub fn explain(
        &self,
        proof: Option<&str>,
        action: Action,
        channel: &str,
    ) -> Result<Decision, Unproven> {
        let subject = match proof.map(|proof| self.keys.find(proof)) {
            None => Subject::Anonymous,
            Some(Some(key)) => Subject::Key(key),
            Some(None) => return Err(Unproven("the key is wrong".into())),
        };
        Ok(self.rules.decide(&subject, action, channel))
    }

    /// Reads keys from files anew that have changed. Blocks on the files.
    pub fn reload_keys(&self) -> Reloaded {
        self.keys.reload()
    }

    /// Returns true if pages of other hosts may use this server at all.
    pub fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Returns true if the server answers to this `Host`, with or without a port.
    pub fn host_is_allowed(&self, host: &str) -> bool {
        self.hosts.allow(host)
    }

    /// Returns true if a browser's page may talk to this server (RFC 6454). Programs send no
    /// `Origin` and are let in: what is kept out is a foreign page that uses its visitor's network.
    pub fn origin_is_allowed(&self, headers: &HeaderMap) -> bool {
        origin::is_allowed(&self.origins, headers)
    }
}

fn grant(rules: &Arc<Rules>, who: Who, subject: Subject) -> Grant {
    let rules = Arc::clone(rules);
    Grant::by(who, Arc::new(Decides { rules, subject }))
}

/// Checks what a session shows after it has connected. A server that knows nobody asks for nothing,
/// so nothing proves anything there.
impl Authority for Access {
    fn grant(&self, proof: &str) -> Result<Grant, Unproven> {
        match self.knows_somebody() {
            true => self.prove(proof),
            false => Err(Unproven(
                "this hub knows neither keys nor tokens, so none is needed".into(),
            )),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.knows_somebody() {
            true => write!(f, "{:?}", self.keys),
            false => f.write_str("open to all"),
        }
    }
}

#[cfg(test)]
mod tests;
