//! The configuration file of the command.

use std::time::Duration;

use hubplane_hub::{Limits, limits::parse_duration};
use serde::{Deserialize, Deserializer, de};

/// Over what time an instance that stops ends its sessions, where nothing else is said.
pub(super) const DRAIN: Duration = Duration::from_secs(25);

/// The configuration file: TOML, every key optional; options of the command line win over it.
#[derive(Clone, Debug, Default, Deserialize)]
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
    /// As `--insecure`.
    pub(super) insecure: Option<bool>,
    /// As `--origin`.
    pub(super) origins: Option<Vec<String>>,
    /// As `--shards`.
    pub(super) shards: Option<usize>,
    /// As `--drain`.
    #[serde(deserialize_with = "some_duration")]
    pub(super) drain: Option<Duration>,
    /// The limits.
    pub(super) limits: Limits,
}

impl File {
    /// Reads the text of a configuration file; the error names line and key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match parse_duration(&text) {
        Some(duration) => Ok(Some(duration)),
        None => Err(de::Error::custom(format!(
            "{text:?} is no duration; write 250ms, 25s or 5m"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_single_limits_and_keeps_the_rest() {
        let file = File::parse("node = \"a\"\n[limits]\nping_interval = \"250ms\"\n").unwrap();
        assert_eq!(file.limits.ping_interval, Duration::from_millis(250));
        assert_eq!(file.limits.message_bytes, 64 * 1024);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(File::parse("nodes = \"a\"").unwrap_err().contains("nodes"));
        assert!(
            File::parse("[limits]\nping_interval = \"25\"")
                .unwrap_err()
                .contains("no duration")
        );
    }
}
