//! How a rule is written in the configuration, and the check that it makes sense.

use std::fmt;

use hubplane_hub::{ChannelLimits, Rate, Slow};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::rule::{Allow, Rule};
use crate::{actions::Actions, pattern::Pattern};

/// What the endpoint can be asked.
const ASKED: [&str; 2] = ["subscribe", "publish"];

/// One table `[[channel]]` of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The pattern of the channels that the rule is for, see [`Pattern`].
    #[serde(rename = "match")]
    pub pattern: String,
    /// Who may do what there. Without it, and without `endpoint`, the rule sets limits alone.
    pub allow: Option<AllowConfig>,
    /// Actions that the endpoint decides for clients, `subscribe` and `publish`; in the file also `true` for both.
    #[serde(default, deserialize_with = "asked")]
    pub endpoint: Vec<String>,
    /// Bytes of a message's data at most. The hub's own limit holds, too.
    pub message_bytes: Option<usize>,
    /// How often one client may publish: `20/s`, `100/m`, `500/h`.
    pub publish_rate: Option<String>,
    /// What becomes of messages for a slow client: `disconnect`, `drop-oldest` or `latest`.
    pub slow: Option<String>,
}

/// Who may do what on a rule's channels: for each class the words `subscribe`, `publish`, `history` and `presence`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowConfig {
    /// Clients with a token that says what stands at the pattern's placeholders, if it has any.
    pub token: Vec<String>,
    /// Clients with any other token; for patterns with placeholders alone.
    pub other_token: Vec<String>,
    /// Clients that showed nothing.
    pub anonymous: Vec<String>,
    /// Programs with a key, which has to allow it, too. Without this list, the key alone decides.
    pub key: Option<Vec<String>>,
}

impl RuleConfig {
    /// Returns the rule.
    ///
    /// # Errors
    /// A sentence that begins with the field.
    pub(super) fn check(&self) -> Result<Rule, String> {
        let pattern = in_field("match", Pattern::parse(&self.pattern))?;
        let ask = in_field("endpoint", Actions::parse(&self.endpoint))?;
        if let Some(word) = self.endpoint.iter().find(|it| !ASKED.contains(&&***it)) {
            return Err(format!(
                "endpoint: it is asked about subscribe and publish, not about {word}"
            ));
        }
        let allow = match &self.allow {
            Some(allow) => Some(allow.check(&pattern, ask)?),
            // What the endpoint is not asked about is allowed to no client.
            None if !ask.is_empty() => Some(Allow {
                ask,
                ..Allow::default()
            }),
            None => None,
        };
        Ok(Rule {
            pattern,
            allow,
            limits: self.limits()?,
        })
    }

    fn limits(&self) -> Result<ChannelLimits, String> {
        if self.message_bytes == Some(0) {
            return Err("message_bytes: it is at least 1".to_owned());
        }
        let rate = self.publish_rate.as_deref().map(str::parse::<Rate>);
        let slow = self.slow.as_deref().map(str::parse::<Slow>);
        Ok(ChannelLimits {
            message_bytes: self.message_bytes,
            publish_rate: in_field("publish_rate", rate.transpose())?,
            // The error names the field itself.
            slow: slow
                .transpose()
                .map_err(|error| error.to_string())?
                .unwrap_or_default(),
        })
    }
}

impl AllowConfig {
    fn check(&self, pattern: &Pattern, ask: Actions) -> Result<Allow, String> {
        let key = self.key.as_deref().map(Actions::parse).transpose();
        let allow = Allow {
            token: in_field("allow.token", Actions::parse(&self.token))?,
            other_token: in_field("allow.other_token", Actions::parse(&self.other_token))?,
            anonymous: in_field("allow.anonymous", Actions::parse(&self.anonymous))?,
            key: in_field("allow.key", key)?,
            ask,
        };
        if !allow.other_token.is_empty() && pattern.claims().next().is_none() {
            return Err(format!(
                "allow.other_token: {:?} has no placeholder, so allow.token is for every token",
                pattern.as_str()
            ));
        }
        for (field, listed) in [
            ("token", allow.token),
            ("other_token", allow.other_token),
            ("anonymous", allow.anonymous),
        ] {
            let both = listed.and(ask);
            if !both.is_empty() {
                return Err(format!(
                    "endpoint: {both} is in allow.{field}, too; either the endpoint decides or the rule"
                ));
            }
        }
        Ok(allow)
    }
}

/// Puts the field in front of an error.
fn in_field<T, E: fmt::Display>(field: &str, read: Result<T, E>) -> Result<T, String> {
    read.map_err(|error| format!("{field}: {error}"))
}

/// Reads `true` as every action that the endpoint can be asked about, `false` as none, or a list.
fn asked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Asked;
    impl<'de> Visitor<'de> for Asked {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false or a list of actions")
        }

        fn visit_bool<E>(self, all: bool) -> Result<Self::Value, E> {
            let words = if all { &ASKED[..] } else { &[] };
            Ok(words.iter().map(|word| (*word).to_owned()).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = list.next_element()? {
                words.push(word);
            }
            Ok(words)
        }
    }
    deserializer.deserialize_any(Asked)
}
