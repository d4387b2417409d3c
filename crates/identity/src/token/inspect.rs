//! Showing what a token says, without any check. Nothing may be decided by it.

use super::{error::TokenError, issuer::Parts};

/// What a token says. Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The header, as it was sent: JSON if the token is one.
    pub header: String,
    /// The claims, as they were sent: JSON if the token is one.
    pub claims: String,
}

/// Takes a token apart for showing it to whoever holds it.
///
/// # Errors
/// It is too long, or not three parts of base64url.
pub fn inspect(token: &str) -> Result<Inspection, TokenError> {
    let parts = Parts::split(token.trim())?;
    Ok(Inspection {
        header: parts.header,
        claims: parts.claims,
    })
}
