//! What an operator says about an issuer of tokens.

use std::time::Duration;

/// How far the issuer's clock and the hub's may be apart, unless the settings say otherwise.
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(10);
/// The claim under which the hub's own claims stand, unless the settings say otherwise.
pub const DEFAULT_NAMESPACE: &str = "hubplane";
/// The largest leeway: more would make `exp` meaningless.
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// An issuer as the settings describe it.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// Where its keys are.
    pub keys: KeysFrom,
    /// What `iss` must be. Needed if there are several issuers; `None` checks nothing.
    pub issuer: Option<String>,
    /// Of what `aud` must have one. Empty checks nothing.
    pub audience: Vec<String>,
    /// The claim under which the hub's own claims stand, such as `hubplane` or
    /// `https://hub.example/claims`. Empty if they stand beside the others.
    pub claims: String,
    /// How far the clocks may be apart, at most five minutes.
    pub leeway: Duration,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeysFrom {
    /// `file:PATH` or `env:NAME`, with a PEM text (public keys, or one certificate), a JWK, a JWK set, or a shared
    /// secret of at least [`MIN_SECRET`](super::MIN_SECRET) bytes. They are read once.
    Place(String),
    /// A URL with a JWK set, which is fetched again and again. Needs the feature `jwks`.
    Url(JwksSettings),
}

/// Where an issuer publishes its keys, and how they are fetched.
#[derive(Clone, Debug)]
pub struct JwksSettings {
    /// `https://…`, with a JWK set (RFC 7517, section 5) of at most 64 keys.
    pub url: String,
    /// `file:PATH` or `env:NAME` with the certificate authorities to trust, as PEM; `None` for the
    /// system's.
    pub authorities: Option<String>,
    /// Allows `http://` to this machine, for tests.
    pub plain_loopback: bool,
    /// How often, how long, how much.
    pub limits: JwksLimits,
}

/// How published keys are fetched.
#[derive(Clone, Debug)]
pub struct JwksLimits {
    /// The time between two fetches.
    pub refresh: Duration,
    /// The shortest time between two fetches: for a token with an unknown key, and after a failure.
    pub cooldown: Duration,
    /// How long keys are used while they can't be fetched anew.
    pub stale: Duration,
    /// The longest time that a fetch may take.
    pub timeout: Duration,
    /// The longest answer in bytes.
    pub bytes: usize,
}

impl Default for JwksLimits {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5 * 60),
            cooldown: Duration::from_secs(10),
            stale: Duration::from_secs(60 * 60),
            timeout: Duration::from_secs(3),
            bytes: 256 * 1_024,
        }
    }
}

impl JwksSettings {
    /// Returns settings with the URL alone.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authorities: None,
            plain_loopback: false,
            limits: JwksLimits::default(),
        }
    }
}

impl IssuerSettings {
    /// Returns settings with the keys alone.
    pub fn new(keys: KeysFrom) -> Self {
        Self {
            keys,
            issuer: None,
            audience: Vec::new(),
            claims: DEFAULT_NAMESPACE.to_owned(),
            leeway: DEFAULT_LEEWAY,
        }
    }
}

/// Checks what does not depend on the keys.
pub(super) fn check(all: &[IssuerSettings]) -> Result<(), String> {
    for (at, settings) in all.iter().enumerate() {
        if settings.leeway > MAX_LEEWAY {
            return Err(format!(
                "a token's leeway is at most {} s",
                MAX_LEEWAY.as_secs()
            ));
        }
        match &settings.issuer {
            None if all.len() > 1 => {
                return Err("with several [[token]] each needs its issuer".to_owned());
            }
            Some(name) if name.is_empty() => {
                return Err("a token's issuer is not empty: leave it out to check none".to_owned());
            }
            // One issuer's token must not be tried with the keys of two.
            Some(name) if all[..at].iter().any(|it| it.issuer.as_ref() == Some(name)) => {
                return Err(format!("two [[token]] have the issuer {name:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}
