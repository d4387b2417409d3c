//! The configuration file of `hubplane serve`: which keys it has, and how it is read.
//!
//! What the limits mean and their defaults are in `hubplane_hub::limits`. Which of option and file wins is decided in `serve`.

use std::time::Duration;

use hubplane_bench::toml_reason;
use hubplane_hub::{Limits, limits::duration};
use hubplane_identity::{KeyConfig, endpoint::EndpointConfig, rules::RuleConfig};
use serde::{Deserialize, Deserializer};

use super::serve::TokenConfig;

/// The time over which a stopping instance ends its sessions by default.
pub(super) const DRAIN: Duration = Duration::from_secs(25);

/// The configuration file: TOML, every key optional; options of the command line win over it.
#[derive(Clone, Debug, Default, Deserialize)]
// A mistyped key is an error: a limit that is silently ignored is found too late.
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    /// As `--listen`.
    pub(super) listen: Option<String>,
    /// As `--backplane`.
    pub(super) backplane: Option<String>,
    /// As `--node`.
    pub(super) node: Option<String>,
    /// As `--key-file`.
    pub(super) key_file: Option<std::path::PathBuf>,
    /// As `--anonymous`.
    pub(super) anonymous: Option<Vec<String>>,
    /// Keys of programs.
    pub(super) key: Vec<KeyConfig>,
    /// Issuers of users' tokens.
    pub(super) token: Vec<TokenConfig>,
    /// The operator's own backend, which decides.
    pub(super) endpoint: Option<EndpointConfig>,
    /// Rules for channels; the first that matches decides.
    pub(super) channel: Vec<RuleConfig>,
    /// As `--tls-cert`.
    pub(super) tls_cert: Option<std::path::PathBuf>,
    /// As `--tls-key`.
    pub(super) tls_key: Option<std::path::PathBuf>,
    /// As `--insecure`.
    pub(super) insecure: Option<bool>,
    /// As `--origin`.
    pub(super) origins: Option<Vec<String>>,
    /// As `--host`.
    pub(super) hosts: Option<Vec<String>>,
    /// As `--trust-proxy`.
    pub(super) trust_proxy: Option<Vec<String>>,
    /// As `--shards`.
    pub(super) shards: Option<usize>,
    /// As `--drain`.
    #[serde(deserialize_with = "some_duration")]
    pub(super) drain: Option<Duration>,
    /// As `--drain-delay`.
    #[serde(deserialize_with = "some_duration")]
    pub(super) drain_delay: Option<Duration>,
    /// The limits.
    pub(super) limits: Limits,
}

impl File {
    /// Reads the text of a configuration file, and checks its limits.
    ///
    /// # Errors
    /// A sentence with line, key and reason. It never shows the line itself, which may hold the broker's password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Some editors begin a file with a byte order mark, which TOML does not allow.
        let file: Self = toml::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| toml_reason(text, &error))?;
        // Limits may contradict each other, which no single key shows.
        file.limits.check()?;
        Ok(file)
    }
}

/// Reads a duration such as "25s". serde takes this only for keys that are there, so the result is never `None`.
fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_single_limits_and_keeps_the_rest() {
        let file = File::parse("node = \"a\"\n[limits]\npong_timeout = \"250ms\"\n").unwrap();
        assert_eq!(file.limits.pong_timeout, Duration::from_millis(250));
        // 64 KiB is the default of `message_bytes`.
        assert_eq!(file.limits.message_bytes, 64 * 1024);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(File::parse("nodes = \"a\"").unwrap_err().contains("nodes"));
        let error = File::parse("[limits]\nping_interval = \"25\"").unwrap_err();
        assert!(
            error.contains("line 2, ping_interval: a duration"),
            "{error}"
        );
        let error = File::parse("drain = 25").unwrap_err();
        assert!(error.contains("'25s'"), "{error}");
        assert_eq!(
            File::parse("drain = \"1h\"").unwrap().drain,
            Some(Duration::from_secs(3_600))
        );
    }

    #[test]
    // Each line is a way to get a password into an error of the parser.
    fn an_error_never_shows_a_value() {
        const SECRET: &str = "redis://u:hunter2@h";
        for text in [
            format!("backplane = \"{SECRET}\"x"),
            "backplane = \"redis://u:\"hunter2@h\"".to_owned(),
            format!("backplane = {SECRET}"),
            format!("backplane {SECRET}"),
            format!("backplane = \"\\q{SECRET}\""),
            format!("backplane = \"{SECRET}"),
            SECRET.to_owned(),
            format!("insecure = \"{SECRET}\""),
            format!("shards = \"{SECRET}\""),
            format!("drain = \"{SECRET}\""),
            format!("origins = \"{SECRET}\""),
            format!("limits = \"{SECRET}\""),
            format!("listen = [\"{SECRET}\"]"),
            format!("backplane = \"{SECRET}\"\nbackplane = \"{SECRET}\""),
            format!("backplan = \"{SECRET}\""),
            format!("\"{SECRET}\" = 1"),
            format!("backplane = \"\"\"\n{SECRET}=1\n\"\"\"\nx y"),
        ] {
            let error = File::parse(&text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
            assert!(error.starts_with("line "), "{text}: {error}");
        }
    }
}
