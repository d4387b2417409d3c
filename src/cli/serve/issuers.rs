//! How an issuer of tokens is written in the configuration file: the tables `[[token]]`.

use std::time::Duration;

use hubplane_hub::limits::duration;
use hubplane_identity::token::{
    DEFAULT_LEEWAY, DEFAULT_NAMESPACE, IssuerSettings, Issuers, JwksSettings, KeysFrom,
};
use serde::Deserialize;

/// One table `[[token]]`: whose tokens are accepted, and with which keys they are checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct TokenConfig {
    /// Where its keys are: `file:PATH` or `env:NAME`, with PEM, a JWK, a JWK set or a secret of at
    /// least 32 bytes.
    key: Option<String>,
    /// The `https` URL of a JWK set, in place of `key`.
    jwks: Option<String>,
    /// `file:PATH` with the authorities that are trusted for that URL; by default the system's.
    ca: Option<String>,
    /// What `iss` must be.
    issuer: Option<String>,
    /// Of what `aud` must have one.
    #[serde(default)]
    audience: Audience,
    /// The claim under which the hub's own claims stand; empty if they stand beside the others.
    #[serde(default = "namespace")]
    claims: String,
    /// How far the clocks may be apart.
    #[serde(default = "leeway", deserialize_with = "duration")]
    leeway: Duration,
    /// Allows `http` to this machine for `jwks`, for tests.
    #[serde(default)]
    allow_loopback: bool,
}

/// One text, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

fn namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

const fn leeway() -> Duration {
    DEFAULT_LEEWAY
}

impl TokenConfig {
    /// Returns the settings of the issuer.
    ///
    /// # Errors
    /// A sentence: there is not exactly one place for its keys.
    fn settings(self) -> Result<IssuerSettings, String> {
        let keys = match (self.key, self.jwks) {
            (Some(key), None) => KeysFrom::Place(key),
            (None, Some(url)) => KeysFrom::Url(JwksSettings {
                authorities: self.ca,
                plain_loopback: self.allow_loopback,
                ..JwksSettings::new(url)
            }),
            _ => {
                return Err(
                    "give key (file:PATH or env:NAME) or jwks (a URL), one of them".to_owned(),
                );
            }
        };
        Ok(IssuerSettings {
            issuer: self.issuer,
            audience: match self.audience {
                Audience::One(one) => vec![one],
                Audience::Several(several) => several,
            },
            claims: self.claims,
            leeway: self.leeway,
            ..IssuerSettings::new(keys)
        })
    }
}

/// Reads the issuers' keys.
///
/// # Errors
/// A sentence that names the table by its number, from 1, or what is wrong with its keys.
pub(super) fn issuers(tables: Vec<TokenConfig>) -> Result<Issuers, String> {
    let read = |(number, table): (usize, TokenConfig)| {
        table
            .settings()
            .map_err(|error| format!("[[token]] {number}: {error}"))
    };
    let settings: Result<Vec<_>, _> = (1..).zip(tables).map(read).collect();
    Issuers::new(settings?)
}
