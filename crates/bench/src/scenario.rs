//! What is measured: how many clients, on which channels, at which rates. A TOML file each; five are built in.

use std::{fmt, fs, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::toml_reason;

/// The scenarios that are always there.
const BUILT_IN: [(&str, &str); 5] = [
    ("progress", include_str!("scenarios/progress.toml")),
    ("fanout", include_str!("scenarios/fanout.toml")),
    ("chat", include_str!("scenarios/chat.toml")),
    ("churn", include_str!("scenarios/churn.toml")),
    ("large", include_str!("scenarios/large.toml")),
];

/// The largest load that one run may ask for: more sockets than a process has open files is no measurement.
const MOST_CONNECTIONS: u32 = 100_000;
const MOST_CHANNELS: u32 = 1_000_000;
const MOST_PAYLOAD: u32 = 1024 * 1024;
/// A payload has room for who published it and when.
const LEAST_PAYLOAD: u32 = 64;

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What options and tables call it.
    pub name: String,
    /// What it stands for, in a line.
    pub what: String,
    /// Sockets, spread evenly over the hubs.
    /// A whole number of subscribers for each channel must come of it; see [`Scenario::parse`].
    pub connections: u32,
    /// Channels, spread evenly over the sockets.
    pub channels: u32,
    /// Channels of one socket.
    #[serde(default = "one")]
    pub channels_per_connection: u32,
    /// Bytes of a message's data, the quotation marks of its JSON string included.
    pub payload: u32,
    /// Who publishes.
    pub publish: Publish,
    /// Subscriptions that are given up and made anew, a second, on sockets of their own beside the others.
    #[serde(default)]
    pub churn: u32,
    /// Messages a second at which backends are compared: the same work for all. It should be far below every knee, or latency tells of overload only.
    pub rate: f64,
    /// The search for the highest rate.
    pub ladder: Ladder,
}

/// Who publishes, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Backends, by HTTP, at all hubs.
    Http,
    /// The subscribers themselves, by their sockets.
    WebSocket,
}

/// How the search for the knee goes: it quadruples the rate until a step fails, then halves the last stretch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Messages a second of the first step.
    pub from: f64,
    /// Where the search ends.
    pub to: f64,
    /// The 99th percentile of the delivery may be so high, milliseconds.
    pub p99_ms: u64,
}

const fn one() -> u32 {
    1
}

/// A scenario that can't be run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

impl Scenario {
    /// The built-in ones, in their order.
    pub fn built_in() -> Vec<Self> {
        // A test parses all of them, so this can't fail in a built program.
        let parse = |(name, text)| {
            Self::parse(text).unwrap_or_else(|error| panic!("invariant: {name}.toml: {error}"))
        };
        BUILT_IN.map(parse).into()
    }

    /// A built-in one by its name, or a file by its path.
    ///
    /// # Errors
    /// With what there is, or with file, line and key.
    pub fn find(name: &str) -> Result<Self, Invalid> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text);
        }
        // A misspelt built-in name must not be taken for a file that is missing.
        if !name.ends_with(".toml") {
            return Err(unknown(name));
        }
        let text = fs::read_to_string(Path::new(name))
            .map_err(|error| Invalid(format!("{name}: {error}")))?;
        Self::parse(&text).map_err(|Invalid(error)| Invalid(format!("{name}: {error}")))
    }

    /// The file of a built-in one.
    ///
    /// # Errors
    /// With what there is.
    pub fn text(name: &str) -> Result<&'static str, Invalid> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| *text).ok_or_else(|| unknown(name))
    }

    /// Reads the text of a scenario file.
    ///
    /// # Errors
    /// With line and key.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let scenario: Self =
            toml::from_str(text).map_err(|error| Invalid(toml_reason(text, &error)))?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), Invalid> {
        // Each error names the key, its value and its bounds.
        let within = |key: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Invalid(format!(
                "{key} is {value}; it must be from {least} to {most}"
            )))
        };
        // The name becomes a part of channels' names and of links in the report.
        let plain = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(plain) {
            return Err(Invalid(format!(
                "name is {:?}; it must be 1 to 32 letters, digits, - and _",
                self.name
            )));
        }
        within("connections", self.connections, 1, MOST_CONNECTIONS)?;
        within("channels", self.channels, 1, MOST_CHANNELS)?;
        // Each channel of a connection is named in its handshake, whose line has a limit; and no
        // more than there are.
        let most = self.channels.min(128);
        let each = self.channels_per_connection;
        within("channels_per_connection", each, 1, most)?;
        within("payload", self.payload, LEAST_PAYLOAD, MOST_PAYLOAD)?;
        within("churn", self.churn, 0, 10_000)?;
        let subscriptions = u64::from(self.connections) * u64::from(each);
        // Otherwise channels would have different numbers of subscribers, and losses could not be
        // computed from a product.
        if !subscriptions.is_multiple_of(u64::from(self.channels)) {
            return Err(Invalid(format!(
                "{subscriptions} subscriptions can't be spread evenly over {} channels: \
                 connections * channels_per_connection must be a multiple of channels",
                self.channels
            )));
        }
        let rates = [self.rate, self.ladder.from, self.ladder.to];
        // Below 1 the schedule would have steps of seconds; 10 million are more than any hub takes.
        let sound = |rate: &f64| rate.is_finite() && *rate >= 1.0 && *rate <= 10_000_000.0;
        if !rates.iter().all(sound) || self.ladder.to < self.ladder.from {
            return Err(Invalid(
                "rate, ladder.from and ladder.to must be from 1 to 10000000 messages a second, and from at most to"
                    .to_owned(),
            ));
        }
        // A limit of 0 would fail every step.
        if self.ladder.p99_ms == 0 {
            return Err(Invalid("ladder.p99_ms must be 1 at least".to_owned()));
        }
        Ok(())
    }

    /// Subscribers of one channel.
    pub fn subscribers(&self) -> u32 {
        self.connections * self.channels_per_connection / self.channels
    }

    /// What p99 may be.
    pub const fn limit(&self) -> Duration {
        Duration::from_millis(self.ladder.p99_ms)
    }
}

fn unknown(name: &str) -> Invalid {
    let known = BUILT_IN.map(|(known, _)| known).join(", ");
    Invalid(format!(
        "there is no scenario {name}; there are {known}, or give a file that ends with .toml"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ones_are_sound_and_found_by_name() {
        for scenario in Scenario::built_in() {
            assert_eq!(Scenario::find(&scenario.name), Ok(scenario));
        }
    }

    #[test]
    fn an_unknown_one_is_told_what_there_is() {
        let error = Scenario::find("nothing").unwrap_err().to_string();
        assert!(error.contains("progress, fanout, chat"), "{error}");
        let error = Scenario::find("/nowhere/a.toml").unwrap_err().to_string();
        assert!(error.contains("/nowhere/a.toml"), "{error}");
    }

    #[test]
    fn what_can_not_be_run_is_refused_with_the_reason() {
        let sound = BUILT_IN[0].1;
        // Each changes one line of a sound file; the error must name the key or the reason.
        for (from, to, said) in [
            ("channels = 500", "channels = 333", "multiple of channels"),
            ("payload = 128", "payload = 1", "from 64 to"),
            ("rate = 500", "rate = 0", "messages a second"),
            ("publish", "publishes", "publishes"),
        ] {
            let text = sound.replacen(from, to, 1);
            // If the file changes, this replacement must not silently do nothing.
            assert_ne!(text, sound, "{from}");
            let error = Scenario::parse(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
