//! A build without signed tokens: what is no key proves nothing.

use hubplane_hub::{Grant, Unproven};

use super::{Access, From};
use crate::rules::Subject;

/// No issuer of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Issuers;

impl Issuers {
    /// Returns true: no token is accepted.
    #[expect(clippy::unused_self, reason = "as with tokens")]
    pub(super) const fn is_empty(&self) -> bool {
        true
    }
}

impl Access {
    #[expect(clippy::unused_self, reason = "as with tokens")]
    pub(super) fn prove_token(&self, _proof: &str, _from: From<'_>) -> Result<Grant, Unproven> {
        Err(Unproven("the key is wrong".into()))
    }

    #[expect(clippy::unused_self, reason = "as with tokens")]
    pub(super) fn subject_of_token(&self, _proof: &str) -> Result<Subject, Unproven> {
        Err(Unproven("the key is wrong".into()))
    }

    /// Returns at once: no key is fetched.
    #[expect(clippy::unused_async, reason = "as with tokens")]
    pub async fn wait_for_key(&self, _proof: &str) {}
}
