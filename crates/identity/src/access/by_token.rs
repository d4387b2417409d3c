//! From what a signed token says to a grant.
//!
//! Whether a token is to be believed is decided in `token`; which rules hold for its bearer in
//! `rules`. This file only brings the two together. An error shows nothing of the token.

use std::time::{Instant, SystemTime};

use hubplane_hub::{Grant, Unproven, Who};

use super::{Access, From, grant};
use crate::{
    Actions, Claims, Permission,
    rules::Subject,
    token::{self, DEFAULT_LEEWAY, Fetching, TokenError},
};

pub use crate::token::Issuers;

impl Access {
    /// Returns what the bearer of a token may do. It ends with the token, after the same leeway
    /// that clocks are given when it is checked.
    pub(super) fn prove_token(
        &self,
        proof: &str,
        (headers, address): From<'_>,
    ) -> Result<Grant, Unproven> {
        let claims = self.verify(proof)?;
        let asker = self.asker(claims.user.as_deref(), headers, address);
        let grant = grant(&self.rules, Who::User, self.subject(&claims)?, asker);
        // A token without `sub` is for somebody without a name.
        let mut grant = match claims.user {
            Some(user) => grant.named(user),
            None => grant,
        };
        if let Some(id) = claims.token_id {
            grant = grant.of_token(id);
        }
        if let Some(info) = claims.info {
            grant = grant.with_info(info);
        }
        let left = (claims.expires + DEFAULT_LEEWAY).duration_since(SystemTime::now());
        // A token that lasts longer than the clock can count has no end here.
        let until = Instant::now().checked_add(left.unwrap_or_default());
        let grant = until.into_iter().fold(grant, Grant::until);
        Ok(grant.joining(claims.channels))
    }

    /// Returns whom a decision about the bearer of a token is about.
    pub(super) fn subject_of_token(&self, proof: &str) -> Result<Subject, Unproven> {
        self.subject(&self.verify(proof)?)
    }

    fn verify(&self, proof: &str) -> Result<token::Claims, Unproven> {
        if self.issuers.is_empty() {
            return Err(Unproven("the key is wrong".into()));
        }
        let claims = self.issuers.verify(proof, SystemTime::now());
        claims.map_err(|error| Unproven(error.to_string().into()))
    }

    fn subject(&self, claims: &token::Claims) -> Result<Subject, Unproven> {
        let permissions = match (&claims.channel, &claims.permissions) {
            // A token for one channel allows to listen there, and nothing else.
            (Some(channel), _) => Some(vec![listening(channel)?]),
            (None, None) => None,
            (None, Some(all)) => {
                let read = |it: &token::Permission| Permission::new(it.allow, &it.channels);
                let all: Result<Vec<_>, _> = all.iter().map(read).collect();
                Some(all.map_err(|_shows_the_token| unusable())?)
            }
        };
        let wanted = self.rules.claims();
        let user = claims.user.iter().map(|user| ("sub", &**user));
        let texts = claims.texts.iter().map(|(name, text)| (&**name, &**text));
        let needed = user.chain(texts).filter(|(name, _)| wanted.contains(name));
        let claims: Claims = needed.collect();
        Ok(Subject::Token {
            claims,
            permissions: permissions.map(Into::into),
        })
    }

    /// Starts fetching keys that issuers publish, on the current runtime. It goes on as long as the
    /// returned value exists.
    pub fn fetch_keys(&self) -> Fetching {
        self.issuers.start()
    }

    /// Waits until the key of a token is there, if it is being fetched; at most for the time that a
    /// fetch may take. Whether the token is accepted is asked for afterwards.
    pub async fn wait_for_key(&self, proof: &str) {
        let now = SystemTime::now();
        let early = self.issuers.verify(proof, now);
        if early.is_err_and(TokenError::is_temporary) {
            _ = self.issuers.verify_fetching(proof, now).await;
        }
    }
}

/// Returns the permission of a token for one channel.
fn listening(channel: &str) -> Result<Permission, Unproven> {
    use hubplane_hub::Action::{History, Presence, Subscribe};
    // A star or a placeholder would make it a pattern for several.
    if channel.contains(['*', '{', '}']) {
        return Err(unusable());
    }
    let allow = Actions::from_iter([Subscribe, History, Presence]);
    Permission::new(allow, &[channel.to_owned()]).map_err(|_shows_the_token| unusable())
}

fn unusable() -> Unproven {
    Unproven("a channel in the token's permissions can't be used".into())
}
