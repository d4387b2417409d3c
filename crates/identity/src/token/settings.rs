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
