//! An issuer of tokens, and the checks that depend on it: its keys, its name, the audience, the
//! time.

use std::{sync::Arc, time::SystemTime};

use super::{
    claims::{self, Claims},
    error::TokenError,
    header::Header,
    keys::Source,
    object::{Object, text},
    settings::IssuerSettings,
};

/// A token taken apart. Nothing of it is proven.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) header: String,
    pub(super) claims: String,
    /// What is signed: the first two parts with the dot between them.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
}

/// Somebody whose tokens are accepted.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) settings: IssuerSettings,
    pub(super) keys: Arc<dyn Source>,
}

impl Issuer {
    /// Checks a token: the signature first, then what it says.
    pub(super) fn check(
        &self,
        header: &Header,
        parts: &Parts<'_>,
        claims: &Object<'_>,
        now: SystemTime,
    ) -> Result<Claims, TokenError> {
        let keys = self.keys.keys()?;
        keys.check(header, parts.message.as_bytes(), &parts.signature)
            .map_err(|error| match error {
                TokenError::KeyUnknown => self.keys.missed(),
                other => other,
            })?;
        let expires = claims::expiry(claims)?;
        let not_before = claims::not_before(claims)?;
        let leeway = self.settings.leeway;
        if expires + leeway <= now {
            return Err(TokenError::Expired);
        }
        if not_before.is_some_and(|at| at > now + leeway) {
            return Err(TokenError::NotYetValid);
        }
        self.check_audience(claims)?;
        Claims::read(claims, &self.settings.claims, expires)
    }

    /// Checks that one of the token's audiences is one of the hub's (RFC 7519, section 4.1.3).
    fn check_audience(&self, claims: &Object<'_>) -> Result<(), TokenError> {
        let own = &self.settings.audience;
        if own.is_empty() {
            return Ok(());
        }
        let json = claims.get("aud").ok_or(TokenError::AudienceMissing)?;
        let given = match text(json) {
            Some(one) => vec![one],
            None => serde_json::from_str::<Vec<String>>(json)
                .ok()
                .ok_or(TokenError::AudienceInvalid)?,
        };
        let known = given.iter().any(|audience| own.contains(audience));
        known.then_some(()).ok_or(TokenError::AudienceWrong)
    }
}
