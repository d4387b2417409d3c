//! What a server lets in: which origins and hosts, and who gets which grant.
//!
//! A proof is a key or a token; whichever shows one and is not accepted gets an error, not the
//! rights of anybody. What must hold: as soon as anything here says who is who, those who show
//! nothing may do nothing that is not allowed to them by a rule or by [`AccessConfig::anonymous`].

#[cfg(feature = "endpoint")]
mod by_endpoint;
#[cfg(not(feature = "endpoint"))]
#[path = "access/no_endpoint.rs"]
mod by_endpoint;
#[cfg(feature = "tokens")]
mod by_token;
#[cfg(not(feature = "tokens"))]
#[path = "access/no_tokens.rs"]
mod by_token;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use by_endpoint::Asker;
pub use by_endpoint::Endpoint;
pub use by_token::Issuers;

use http::{HeaderMap, HeaderValue, header};
use hubplane_hub::{Action, Asking, Authority, ChannelLimits, Grant, Permissions, Unproven, Who};

use crate::{
    Actions, KeyGrant, Keys, Reloaded,
    host::Hosts,
    origin,
    rules::{Answer, Decision, RuleConfig, Rules, Subject, WithoutRules},
};

/// What an [`Access`] is made of. By default nobody is known, and everybody may do everything.
#[derive(Debug, Default)]
pub struct AccessConfig {
    /// Keys of programs.
    pub keys: Keys,
    /// Those who sign users' tokens.
    pub issuers: Issuers,
    /// The operator's own backend, which may decide.
    pub endpoint: Option<Endpoint>,
    /// Rules for channels, in their order.
    pub rules: Vec<RuleConfig>,
    /// What clients may do that show nothing, on channels that no rule is about. It counts only
    /// where somebody is known; else they may do everything.
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
    issuers: Issuers,
    endpoint: Option<Arc<Endpoint>>,
    rules: Arc<Rules>,
    /// What somebody may do who shows nothing.
    anonymous: Grant,
    origins: Vec<String>,
    hosts: Hosts,
}

/// The headers and the address of a request, which the endpoint is told.
type From<'a> = (&'a HeaderMap, IpAddr);

/// Lets everybody do everything, from pages of the server's own host.
impl Default for Access {
    fn default() -> Self {
        Self::new(AccessConfig::default()).expect("invariant: no rule is no wrong rule")
    }
}

/// Why a client may not connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The backend has said no, with a sentence for the client if it has one.
    Refused(Option<String>),
    /// The backend has not decided. It is worth trying again after this time.
    Undecided(Duration),
}

/// The permissions of one who shows something, or of those who show nothing.
#[derive(Debug)]
struct Decides {
    rules: Arc<Rules>,
    subject: Subject,
    /// Asks the endpoint, where a rule leaves it to that.
    asker: Option<Asker>,
}

impl Permissions for Decides {
    fn allows(&self, action: Action, channel: &str) -> bool {
        let decision = self.rules.decide(&self.subject, action, channel);
        decision.is_allowed()
    }

    fn allows_somewhere(&self, action: Action) -> bool {
        self.rules.allows_somewhere(&self.subject, action)
            || (self.asker.is_some() && matches!(action, Action::Subscribe | Action::Publish))
    }

    fn limits(&self, channel: &str) -> ChannelLimits {
        self.rules.limits(channel)
    }

    fn question(&self, action: Action, channel: &str, data: &[u8]) -> Option<Asking> {
        let decision = self.rules.decide(&self.subject, action, channel);
        match (&self.asker, decision.answer()) {
            (Some(asker), Answer::Ask) => Some(asker.ask(action, channel, data)),
            _ => None,
        }
    }
}

impl AccessConfig {
    /// A browser sends cookies along whichever page connects, so only the check of the page's
    /// origin protects a user whose session is a cookie.
    fn check_cookies(&self) -> Result<(), String> {
        let by_cookie = self.endpoint.as_ref().is_some_and(Endpoint::passes_cookies);
        match by_cookie && self.origins.iter().any(|origin| origin == crate::ANY) {
            false => Ok(()),
            true => Err("[endpoint] passes on cookies, so pages of every origin (*) must not connect: name the origins"
                .to_owned()),
        }
    }

    /// Returns true if somebody can show who they are to a hub with this configuration.
    pub fn knows_somebody(&self) -> bool {
        !self.keys.is_empty() || !self.issuers.is_empty() || self.endpoint.is_some()
    }
}

impl Access {
    /// Checks a configuration.
    ///
    /// # Errors
    /// A sentence that names the rule which is wrong.
    pub fn new(config: AccessConfig) -> Result<Self, String> {
        config.check_cookies()?;
        let nobody_is_known = !config.knows_somebody();
        let AccessConfig {
            keys,
            rules,
            anonymous,
            origins,
            hosts,
            ..
        } = config;
        let without_rules = match nobody_is_known {
            true => WithoutRules::Open,
            false => WithoutRules::Anonymous(anonymous),
        };
        let rules = Arc::new(Rules::new(&rules, without_rules)?);
        let anonymous = match (nobody_is_known, rules.is_guarded()) {
            // Nobody can show anything, so everybody is trusted, also with publishing.
            (true, false) => Grant::key(),
            _ => grant(&rules, Who::Anonymous, Subject::Anonymous, None),
        };
        Ok(Self {
            keys,
            issuers: config.issuers,
            endpoint: config.endpoint.map(Arc::new),
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
        self.grant_from(headers, Ipv4Addr::UNSPECIFIED.into())
    }

    /// The same for a request from this address, which the endpoint is told.
    ///
    /// # Errors
    /// As [`Access::grant_of`].
    pub fn grant_from(&self, headers: &HeaderMap, address: IpAddr) -> Result<Grant, Unproven> {
        if !self.knows_somebody() {
            return Ok(self.anonymous.clone());
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(match self.asker(None, headers, address) {
                None => self.anonymous.clone(),
                asker => grant(&self.rules, Who::Anonymous, Subject::Anonymous, asker),
            });
        };
        match bearer(value) {
            Some(proof) => self.prove_with(proof, (headers, address)),
            None => Err(Unproven("write Authorization: Bearer …".into())),
        }
    }

    /// Returns what somebody may do who shows this key or token. Never waits.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn prove(&self, proof: &str) -> Result<Grant, Unproven> {
        self.prove_with(proof, (&HeaderMap::new(), Ipv4Addr::UNSPECIFIED.into()))
    }

    fn prove_with(&self, proof: &str, from: From<'_>) -> Result<Grant, Unproven> {
        match self.keys.find(proof) {
            Some(key) => Ok(self.grant_of_key(key)),
            None => self.prove_token(proof, from),
        }
    }

    fn grant_of_key(&self, key: Arc<KeyGrant>) -> Grant {
        // The usual hub: one key that allows everything, shared by all sessions that show it.
        if key.is_for_everything() && !self.rules.limits_keys() {
            return Grant::key();
        }
        let name = key.name().to_owned();
        // A key speaks for a backend, which is not asked about by another one.
        grant(&self.rules, Who::Key, Subject::Key(key), None).named(name)
    }

    /// Returns true if somebody can show who they are. Without that, the hub is open to all who
    /// reach it.
    pub fn knows_somebody(&self) -> bool {
        !self.keys.is_empty() || !self.issuers.is_empty() || self.endpoint.is_some()
    }

    /// Returns true if signed tokens are accepted.
    pub fn takes_tokens(&self) -> bool {
        !self.issuers.is_empty()
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
        let subject = match proof {
            None => Subject::Anonymous,
            Some(proof) => match self.keys.find(proof) {
                Some(key) => Subject::Key(key),
                None => self.subject_of_token(proof)?,
            },
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

/// Returns what `Authorization: Bearer …` shows (RFC 6750, 2.1), `None` if it is something else.
pub fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, proof) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| proof.trim())
}

fn grant(rules: &Arc<Rules>, who: Who, subject: Subject, asker: Option<Asker>) -> Grant {
    let decides = Decides {
        rules: Arc::clone(rules),
        subject,
        asker,
    };
    Grant::by(who, Arc::new(decides))
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

#[cfg(test)]
mod tests;
