//! What a token or a key brings along: actions on the channels that some patterns cover.
//!
//! Whether rules cut it down is decided in `rules`. A token's text comes from its issuer and is read
//! strictly: a part that this version does not know may have been meant to forbid something.

use hubplane_hub::Action;
use serde::Deserialize;

use crate::{actions::Actions, pattern::Pattern};

/// The most patterns of one token, all its permissions' together: each is compared for each decision.
pub const MAX_TOKEN_PATTERNS: usize = 256;

/// A permission as a token's claim `permissions` holds it:
/// `{"channels": ["orders.*"], "allow": ["subscribe"]}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionConfig {
    /// Patterns of channels, without placeholders.
    pub channels: Vec<String>,
    /// Words for actions.
    pub allow: Vec<String>,
}

/// Actions that are allowed on the channels that one of the patterns covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    channels: Box<[Pattern]>,
    allow: Actions,
}

impl Permission {
    /// Reads a token's permissions. None at all is a list, too: it allows nothing.
    ///
    /// # Errors
    /// A sentence that names the permission by its number, from 1: a pattern or a word is wrong, or there are more than
    /// [`MAX_TOKEN_PATTERNS`].
    pub fn of_token(permissions: &[PermissionConfig]) -> Result<Box<[Self]>, String> {
        let patterns: usize = permissions.iter().map(|it| it.channels.len()).sum();
        if patterns > MAX_TOKEN_PATTERNS {
            return Err(format!(
                "permissions: {patterns} patterns; a token may have {MAX_TOKEN_PATTERNS}"
            ));
        }
        let read = |(index, config): (usize, &PermissionConfig)| {
            let place = |field| move |error| format!("permission {}: {field}: {error}", index + 1);
            Ok(Self {
                channels: patterns_of(&config.channels).map_err(place("channels"))?,
                allow: Actions::parse(&config.allow).map_err(place("allow"))?,
            })
        };
        permissions.iter().enumerate().map(read).collect()
    }

    /// Returns the permission for these actions on the channels of these patterns, which have no placeholders.
    ///
    /// # Errors
    /// A sentence: a pattern is wrong.
    pub fn new(allow: Actions, channels: &[String]) -> Result<Self, String> {
        let channels = patterns_of(channels)?;
        Ok(Self { channels, allow })
    }

    /// Returns true if the action is allowed on the channel.
    pub fn allows(&self, action: Action, channel: &str) -> bool {
        self.allow.contains(action) && self.channels.iter().any(|it| it.covers(channel))
    }

    /// Returns true if the action is allowed on some channel.
    pub fn allows_somewhere(&self, action: Action) -> bool {
        self.allow.contains(action) && !self.channels.is_empty()
    }
}

fn patterns_of(texts: &[String]) -> Result<Box<[Pattern]>, String> {
    texts
        .iter()
        .map(|text| Pattern::without_claims(text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Box<[Permission]>, String> {
        let configs: Vec<PermissionConfig> =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        Permission::of_token(&configs)
    }

    #[test]
    fn a_token_allows_its_actions_on_its_channels() {
        let permissions = read(
            r#"[{"channels":["orders.*","news"],"allow":["subscribe","history"]},{"channels":["chat.7"],"allow":["publish"]}]"#,
        )
        .unwrap();
        let allows = |action, channel| permissions.iter().any(|it| it.allows(action, channel));
        assert!(allows(Action::Subscribe, "orders.7"));
        assert!(allows(Action::History, "news"));
        assert!(allows(Action::Publish, "chat.7"));
        assert!(!allows(Action::Publish, "orders.7"));
        assert!(!allows(Action::Subscribe, "chat.7"));
        assert!(!allows(Action::Operate, "orders.7"));
        assert_eq!(read("[]").unwrap().len(), 0);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let many = vec!["\"a\""; MAX_TOKEN_PATTERNS + 1].join(",");
        for (json, reason) in [
            (
                r#"[{"channels":["a"],"allow":["subscribe"],"except":["b"]}]"#,
                "except",
            ),
            (r#"[{"channels":["a"]}]"#, "allow"),
            (
                r#"[{"channels":["a"],"allow":[]},{"channels":["a"],"allow":["read"]}]"#,
                "permission 2: allow: \"read\"",
            ),
            (
                r#"[{"channels":["a","b**"],"allow":[]}]"#,
                "permission 1: channels: the pattern \"b**\"",
            ),
            (
                r#"[{"channels":["u.{sub}"],"allow":[]}]"#,
                "write the value here",
            ),
            (
                &format!(r#"[{{"channels":[{many}],"allow":[]}}]"#),
                "257 patterns; a token may have 256",
            ),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
