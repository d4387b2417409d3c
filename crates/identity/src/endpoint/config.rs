//! The settings of `[endpoint]`: every limit with its default, and whether they make sense.
//!
//! What must hold: an error names the setting, and shows neither a URL nor a secret. This file must
//! not know how questions are asked.

use std::{fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use http::HeaderName;
use hubplane_backplane::Secret;
use hubplane_hub::limits::duration;
use serde::Deserialize;

use super::signature::SigningKey;
use crate::{outbound::OutboundConfig, reference};

/// What clients are told while the endpoint can't decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// Nobody gets in, and a session whose permission has to be renewed is ended.
    #[default]
    Refuse,
    /// Nobody gets in, but the sessions that are there go on.
    Keep,
}

/// The settings of `[endpoint]`.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// The URL that is asked whether a client may connect; `None` if none is asked.
    #[serde(deserialize_with = "secret")]
    pub connect: Option<Secret>,
    /// The URL that is asked whether a client may subscribe to a channel.
    #[serde(deserialize_with = "secret")]
    pub subscribe: Option<Secret>,
    /// The URL that is asked whether a client may publish a message.
    #[serde(deserialize_with = "secret")]
    pub publish: Option<Secret>,
    /// Where the secret of the signatures is: `env:NAME` or `file:PATH`.
    #[serde(deserialize_with = "secret")]
    pub secret: Option<Secret>,
    /// A PEM file of the authorities that are trusted, and no others; without it the system's.
    pub ca: Option<PathBuf>,
    /// The headers of a client's request that are passed on, such as `cookie`; no others are.
    pub headers: Vec<String>,
    /// True if plain `http` and addresses inside of the own network are allowed.
    pub allow_private: bool,
    /// What clients are told while the endpoint can't decide.
    pub open: Open,
    /// How long one question may take once it has its turn, with its second try.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// The largest answer in bytes.
    pub answer_bytes: usize,
    /// The most questions that are asked at once.
    pub concurrency: usize,
    /// The most questions that wait for their turn; one more is refused.
    pub queue: usize,
    /// The most bytes of all questions that wait or are asked; one more is refused.
    pub queue_bytes: usize,
    /// After so many failures in a row the endpoint is not asked for a while.
    pub failures: u32,
    /// How long it is not asked then, until one question tries whether it is well again.
    #[serde(deserialize_with = "duration")]
    pub pause: Duration,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            connect: None,
            subscribe: None,
            publish: None,
            secret: None,
            ca: None,
            headers: Vec::new(),
            allow_private: false,
            open: Open::Refuse,
            timeout: Duration::from_secs(3),
            answer_bytes: 64 * 1024,
            concurrency: 64,
            queue: 20_000,
            queue_bytes: 64 * 1024 * 1024,
            failures: 5,
            pause: Duration::from_secs(5),
        }
    }
}

/// Shows no URL, since one may hold a secret.
impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("connect", &self.connect)
            .field("subscribe", &self.subscribe)
            .field("publish", &self.publish)
            .field("headers", &self.headers)
            .field("allow_private", &self.allow_private)
            .field("open", &self.open)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Reads a text that is not shown.
fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(Secret::new(text)))
}

impl EndpointConfig {
    /// Looks whether the limits make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let milliseconds = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        if self.connect.is_none() && self.subscribe.is_none() && self.publish.is_none() {
            return Err(
                "[endpoint] needs connect, subscribe or publish: the URL to ask".to_owned(),
            );
        }
        for (name, value, range) in [
            ("timeout in ms", milliseconds(self.timeout), 10..=60_000),
            ("answer_bytes", self.answer_bytes, 64..=16 * 1024 * 1024),
            ("concurrency", self.concurrency, 1..=10_000),
            ("queue", self.queue, 0..=1_000_000),
            (
                "queue_bytes",
                self.queue_bytes,
                64 * 1024..=u32::MAX as usize,
            ),
            ("failures", self.failures as usize, 1..=1_000_000),
            ("pause in ms", milliseconds(self.pause), 10..=3_600_000),
        ] {
            within(name, value, range)?;
        }
        Ok(())
    }

    /// Returns what the outbound client may do.
    pub(super) fn outbound(&self) -> OutboundConfig {
        OutboundConfig {
            allow_private: self.allow_private,
            ca: self.ca.clone(),
            connect_timeout: self.timeout,
            answer_bytes: self.answer_bytes,
            idle_connections: self.concurrency,
        }
    }

    /// Returns the names of the headers that are passed on, each once.
    pub(super) fn header_names(&self) -> Result<Vec<HeaderName>, String> {
        let read = |name: &String| {
            let wrong = || format!("[endpoint] headers: {name:?} is no name of a header");
            name.parse().ok().ok_or_else(wrong)
        };
        let names: Result<Vec<HeaderName>, String> = self.headers.iter().map(read).collect();
        let mut names = names?;
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Ok(names)
    }

    /// Reads the secret.
    pub(super) fn signing_key(&self) -> Result<SigningKey, String> {
        let missing = "[endpoint] secret is missing: env:NAME or file:PATH";
        let source = self.secret.as_ref().ok_or(missing)?.reveal();
        let secret =
            reference::read(source).map_err(|error| format!("[endpoint] secret: {error}"))?;
        SigningKey::new(secret.reveal()).map_err(|error| format!("[endpoint] {error}"))
    }
}

fn within(name: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(format!(
        "[endpoint] {name} is {value}; it must be from {least} to {most}"
    ))
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn read(text: &str) -> Result<EndpointConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let config = read(
            "connect = 'https://b.example/hidden'\nsecret = 'env:S'\nheaders = ['x-b', 'Cookie', 'cookie']\ntimeout = '500ms'\nopen = 'keep'",
        )
        .unwrap();
        assert_eq!(
            (config.timeout, config.open),
            (Duration::from_millis(500), Open::Keep)
        );
        assert_eq!(
            config.header_names(),
            Ok(vec![header::COOKIE, HeaderName::from_static("x-b")])
        );
        assert_eq!(
            (config.concurrency, config.queue, config.failures),
            (64, 20_000, 5)
        );
        assert_eq!(config.check(), Ok(()));
        assert!(!format!("{config:?}").contains("hidden"));
        for wrong in [
            "conect = 'x'",
            "timeout = 3",
            "timeout = '3'",
            "open = 'allow'",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_setting_and_show_no_secret() {
        assert!(
            EndpointConfig::default()
                .check()
                .unwrap_err()
                .contains("connect, subscribe or publish")
        );
        for (wrong, named) in [
            ("timeout = '1ms'", "timeout"),
            ("timeout = '2m'", "timeout"),
            ("answer_bytes = 1", "answer_bytes"),
            ("concurrency = 0", "concurrency"),
            ("queue = 5000000", "queue"),
            ("queue_bytes = 1", "queue_bytes"),
            ("failures = 0", "failures"),
            ("pause = '0s'", "pause"),
        ] {
            let error = read(&format!("connect = 'x'\n{wrong}"))
                .unwrap()
                .check()
                .unwrap_err();
            assert!(error.starts_with(&format!("[endpoint] {named}")), "{error}");
        }
        assert!(
            read("headers = ['a b']")
                .unwrap()
                .header_names()
                .unwrap_err()
                .contains("\"a b\"")
        );
        for (secret, said) in [
            ("", "missing"),
            (
                "secret = 'the-secret-itself-in-the-wrong-place'",
                "env:NAME or file:PATH",
            ),
            (
                "secret = 'env:HUBPLANE_NO_SUCH'",
                "HUBPLANE_NO_SUCH: it is not set",
            ),
            ("secret = 'env:HOME'", "32 bytes"),
            ("secret = 'file:/no/such'", "/no/such"),
        ] {
            let error = read(secret).unwrap().signing_key().unwrap_err();
            assert!(
                error.contains(said) && !error.contains("wrong-place"),
                "{error}"
            );
        }
        // Any file that is long enough will do.
        assert!(
            read("secret = 'file:Cargo.toml'")
                .unwrap()
                .signing_key()
                .is_ok()
        );
    }
}
