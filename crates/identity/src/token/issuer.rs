//! An issuer of tokens, and the checks that depend on it: its keys, its name, the audience, the
//! time.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    MAX_TOKEN,
    claims::{self, Claims},
    error::TokenError,
    header::Header,
    jwks::Remote,
    keys::KeySet,
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

impl<'a> Parts<'a> {
    /// Takes a token apart.
    pub(super) fn split(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let wrong = TokenError::NotAToken;
        let (message, signature) = token.rsplit_once('.').ok_or(wrong)?;
        // A further dot would stand in the claims, which base64url does not have.
        let (header, claims) = message.split_once('.').ok_or(wrong)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok().ok_or(wrong);
        let json = |part| String::from_utf8(decode(part)?).ok().ok_or(wrong);
        Ok(Self {
            header: json(header)?,
            claims: json(claims)?,
            message,
            signature: decode(signature)?,
        })
    }
}

/// Somebody whose tokens are accepted.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) settings: IssuerSettings,
    pub(super) keys: Keys,
}

/// An issuer's keys. Asked for each token, so nothing here may block.
#[derive(Debug)]
pub(super) enum Keys {
    /// They stay as they are.
    Fixed(Arc<KeySet>),
    /// They are at a URL.
    Published(Arc<Remote>),
}

impl Keys {
    /// Returns the keys as they are known now.
    fn now(&self) -> Result<Arc<KeySet>, TokenError> {
        match self {
            Self::Fixed(keys) => Ok(Arc::clone(keys)),
            Self::Published(remote) => remote.keys(),
        }
    }

    /// Hears that a token names a key that is not among them, and returns what to answer.
    fn missed(&self) -> TokenError {
        match self {
            Self::Fixed(_) => TokenError::KeyUnknown,
            Self::Published(remote) => remote.missed(),
        }
    }
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
        let keys = self.keys.now()?;
        keys.check(header, parts.message.as_bytes(), &parts.signature)
            .map_err(|error| match error {
                TokenError::KeyUnknown => self.keys.missed(),
                // A key without an id may have been replaced by another one.
                TokenError::SignatureWrong if header.kid.is_none() => {
                    self.keys.missed();
                    error
                }
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
