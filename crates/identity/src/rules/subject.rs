//! Who asks: somebody with a token, with a key, or with nothing.

use std::sync::Arc;

use hubplane_hub::Action;

use crate::{actions::Actions, keys::KeyGrant, pattern::Claims, permission::Permission};

/// Whom a decision is about, with what they brought along.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A client that showed nothing.
    Anonymous,
    /// A client with a token, or one that the endpoint named.
    Token {
        /// What the token says, for the patterns' placeholders.
        claims: Claims,
        /// The token's own permissions. `None`, a token without that claim, leaves everything to the rules; an empty list
        /// allows nothing.
        permissions: Option<Box<[Permission]>>,
    },
    /// A program that showed a key.
    Key(Arc<KeyGrant>),
}

impl Subject {
    /// Returns false if what they brought along keeps them from it, whatever rules say.
    pub(super) fn may(&self, action: Action, channel: &str) -> bool {
        match self {
            Self::Token {
                permissions: Some(all),
                ..
            } => all.iter().any(|it| it.allows(action, channel)),
            Self::Token { .. } | Self::Anonymous => Actions::all().contains(action),
            Self::Key(grant) => grant.allows(action, channel),
        }
    }

    /// Returns false if [`Self::may`] is false on every channel.
    pub(super) fn may_somewhere(&self, action: Action) -> bool {
        match self {
            Self::Token {
                permissions: Some(all),
                ..
            } => all.iter().any(|it| it.allows_somewhere(action)),
            Self::Token { .. } | Self::Anonymous => Actions::all().contains(action),
            Self::Key(grant) => grant.allows_somewhere(action),
        }
    }
}
