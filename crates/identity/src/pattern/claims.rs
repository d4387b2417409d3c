//! What a token says, as far as patterns need it: names and texts.
//!
//! Values come from whoever signed the token. They are only ever compared, never read as a pattern.

use std::collections::BTreeMap;

/// The longest name of a claim in a pattern, in bytes.
const MAX_NAME: usize = 64;

/// Claims of one token by their names, such as `sub`. Keep only those that
/// [`Rules::claims`](crate::rules::Rules::claims) names: they are kept for as long as the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(BTreeMap<Box<str>, Box<str>>);

impl Claims {
    /// Returns what the token says, or `None` if it says nothing of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Claims {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(claims: I) -> Self {
        let pair = |(name, value): (N, V)| (name.into(), value.into());
        Self(claims.into_iter().map(pair).collect())
    }
}

/// Returns true if a placeholder may have this name: 1 to 64 ASCII letters, digits, `_` and `-`.
pub(super) fn is_claim_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}
