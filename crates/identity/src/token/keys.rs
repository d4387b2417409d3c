//! An issuer's keys, and which of them a token is checked with.
//!
//! What must hold: a key is made for one family of algorithms, and a token's header can only choose
//! inside of it (RFC 8725, section 3.1). This file must not know where keys come from.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::{crypto, error::TokenError, header::Header};

/// The most keys that one token is checked with. More than one fit if keys without an id are being
/// replaced.
const MAX_TRIES: usize = 4;

/// One key.
pub(super) struct Key {
    /// The id that a token's `kid` names. A key without one fits every token.
    pub(super) id: Option<String>,
    /// What it may be used with: never more than one family.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Shows nothing of the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// The keys of one issuer at one moment.
#[derive(Debug)]
pub(super) struct KeySet(pub(super) Vec<Key>);

impl KeySet {
    /// Checks a token's signature.
    pub(super) fn check(
        &self,
        header: &Header,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let named = self.named(header.kid.as_deref());
        if named.is_empty() {
            return Err(TokenError::KeyUnknown);
        }
        let fitting: Vec<&Key> = named
            .into_iter()
            .filter(|key| key.algorithms.contains(&header.algorithm))
            .collect();
        match fitting.len() {
            0 => Err(TokenError::AlgorithmOfAnotherKey),
            1..=MAX_TRIES => fitting
                .iter()
                .any(|key| crypto::verify(header.algorithm, &key.key, message, signature))
                .then_some(())
                .ok_or(TokenError::SignatureWrong),
            _ => Err(TokenError::KeyIdMissing),
        }
    }

    /// Returns the keys with this id, or those without one if there are none; all if a token names
    /// no key.
    fn named(&self, kid: Option<&str>) -> Vec<&Key> {
        let Some(kid) = kid else {
            return self.0.iter().collect();
        };
        let with = |id| self.0.iter().filter(move |key| key.id.as_deref() == id);
        let exact: Vec<_> = with(Some(kid)).collect();
        if exact.is_empty() {
            return with(None).collect();
        }
        exact
    }
}
