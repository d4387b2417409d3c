//! Signed tokens (JWT, RFC 7519, in the compact form of RFC 7515), which say who somebody is and
//! what the hub allows to them.
//!
//! What must hold: nothing of a token is believed before its signature is checked, with a key of
//! its own issuer and an algorithm of that key; whatever is wrong has an error of its own, which
//! shows nothing of the token. `jsonwebtoken` reads keys and names algorithms and `ring` checks
//! signatures; claims are read here, since the library takes the process's clock, the last of two
//! equal members, and ignores `crit`. This folder must not know sessions, rules and routes.

mod claims;
mod crypto;
mod error;
#[cfg(feature = "jwks")]
mod fetching;
mod header;
mod inspect;
mod issuer;
mod jwk;
#[cfg(feature = "jwks")]
mod jwks;
#[cfg(not(feature = "jwks"))]
#[path = "no_jwks.rs"]
mod jwks;
mod keys;
mod load;
mod object;
mod settings;
mod sign;

use std::{sync::Arc, time::SystemTime};

pub use self::{
    claims::{Claims, Permission},
    error::TokenError,
    inspect::{Inspection, inspect},
    settings::{
        DEFAULT_LEEWAY, DEFAULT_NAMESPACE, IssuerSettings, JwksLimits, JwksSettings, KeysFrom,
    },
    sign::{KeyKind, SigningKey, generate},
};
#[cfg(feature = "jwks")]
pub use self::{fetching::Fetching, jwks::JwksState};
use self::{
    header::Header,
    issuer::{Issuer, Keys, Parts},
    jwks::Remote,
    keys::KeySet,
    object::{Object, text},
};

/// The longest token in bytes.
pub const MAX_TOKEN: usize = 8 * 1_024;
/// The longest `sub`, `jti`, `kid`, channel, pattern and text claim in bytes.
pub const MAX_NAME: usize = 255;
/// The most patterns of channels in a token, and the most channels to join at once.
pub const MAX_PATTERNS: usize = 64;
/// The longest `info` in bytes of JSON.
pub const MAX_INFO: usize = 1_024;
/// The most other text claims that are kept.
pub const MAX_TEXTS: usize = 32;
/// The shortest shared secret in bytes (RFC 7518, section 3.2).
pub const MIN_SECRET: usize = 32;

/// Everybody whose tokens are accepted. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Issuers(Arc<[Issuer]>);

impl Issuers {
    /// Reads the issuers' keys. Those that are published at a URL are fetched after
    /// `Issuers::start` (feature `jwks`).
    ///
    /// # Errors
    /// A sentence: keys can't be read or used, or the settings contradict each other.
    pub fn new(settings: Vec<IssuerSettings>) -> Result<Self, String> {
        settings::check(&settings)?;
        let issuers = settings.into_iter().map(|settings| {
            let keys = match &settings.keys {
                KeysFrom::Place(place) => Keys::Fixed(Arc::new(KeySet(load::keys_at(place)?))),
                KeysFrom::Url(published) => Keys::Published(Arc::new(Remote::new(published)?)),
            };
            Ok(Issuer { settings, keys })
        });
        issuers.collect::<Result<_, String>>().map(Self)
    }

    /// Returns true if no issuer is known, so no token is accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a token at the time `now`. Never waits, so it is fit for a shard's thread.
    ///
    /// # Errors
    /// The token is not accepted.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        let parts = Parts::split(token)?;
        let header = Header::read(&parts.header)?;
        let claims = claims::object(&parts.claims)?;
        self.issuer_of(&claims)?
            .check(&header, &parts, &claims, now)
    }

    /// Returns the issuer that a token names, whose keys alone it is checked with: the only one if
    /// that has no name.
    fn issuer_of(&self, claims: &Object<'_>) -> Result<&Issuer, TokenError> {
        if let [only] = &*self.0
            && only.settings.issuer.is_none()
        {
            return Ok(only);
        }
        let json = claims.get("iss").ok_or(TokenError::IssuerMissing)?;
        let name = text(json).ok_or(TokenError::IssuerInvalid)?;
        let mut all = self.0.iter();
        all.find(|issuer| issuer.settings.issuer.as_ref() == Some(&name))
            .ok_or(TokenError::IssuerUnknown)
    }
}
