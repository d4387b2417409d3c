//! Reads the keys of an address for a backend, and refuses what it does not know. All errors are `Config` and name the
//! key.

use std::{env, fmt::Display, fs, str::FromStr, time::Duration};

use crate::{
    Address, Error, ErrorKind, Result, Secret,
    address::{is_secret, nameable},
};

/// Reads a duration with its unit: `250ms`, `25s`, `5m`, `1h`, `7d`. It reads all durations in settings, of the hub and
/// of its backends, so that they have one form everywhere.
///
/// # Errors
/// A sentence that shows the form. It does not repeat the text, which may be a secret in the wrong place.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let read = humantime::parse_duration(text).ok();
    read.filter(|time| *time <= LONGEST).ok_or_else(|| {
        "a duration is a number with its unit, such as 250ms, 25s, 5m, 1h or 7d".to_owned()
    })
}

/// A hundred years. Longer durations are refused, because adding one to the clock could overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 3_600);

/// Reads the keys of an address. A backend asks for each key that it knows, and [`Settings::finish`] refuses the rest: a
/// misspelt key is an error, not a setting that silently keeps its default.
#[derive(Debug)]
pub struct Settings<'a> {
    address: &'a Address,
    /// The name in errors.
    backend: &'static str,
    /// The keys that were asked for, which are the known ones.
    asked: Vec<&'static str>,
    /// The beginnings of keys that are passed through.
    prefixes: Vec<&'static str>,
}

impl<'a> Settings<'a> {
    pub(crate) const fn new(address: &'a Address, backend: &'static str) -> Self {
        Self {
            address,
            backend,
            asked: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// Returns a `Config` error of this backend.
    pub fn wrong(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, self.backend, message)
    }

    /// Returns the text of a key, or `None` if the address does not have it. An empty text is an error.
    pub fn text(&mut self, key: &'static str) -> Result<Option<&'a str>> {
        self.asked.push(key);
        match self.address.params().iter().find(|(known, _)| known == key) {
            Some((_, value)) if value.is_empty() => {
                Err(self.wrong(format!("the key {key:?} has no value")))
            }
            found => Ok(found.map(|(_, value)| value.as_str())),
        }
    }

    /// Returns a number, or whatever else can be read from text. The error shows the text, unless it may be a secret.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Result<Option<T>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) if is_secret(key, text) => {
                Err(self.wrong(format!("the value of {key:?} can't be read")))
            }
            Err(error) => Err(self.wrong(format!("{text:?} is no value for {key:?}: {error}"))),
        }
    }

    /// Returns `true` or `false`; a key without a value is an error.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.parsed(key)
    }

    /// Returns a duration, in the form of [`parse_duration`].
    pub fn duration(&mut self, key: &'static str) -> Result<Option<Duration>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match parse_duration(text) {
            Ok(duration) => Ok(Some(duration)),
            Err(form) => Err(self.wrong(format!("{text:?} is no value for {key:?}: {form}"))),
        }
    }

    /// Returns a secret. `env:NAME` reads it from the environment, `file:PATH` from a file, both without the white space
    /// around it; any other text is the secret itself.
    pub fn secret(&mut self, key: &'static str) -> Result<Option<Secret>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        self.resolved(key, text).map(|text| Some(Secret::new(text)))
    }

    /// Returns the password, which stands behind the user name or in the key `password`. Giving both is an error.
    pub fn password(&mut self) -> Result<Option<Secret>> {
        let by_key = self.secret("password")?;
        match (self.address.inline_password(), by_key) {
            (Some(_), Some(_)) => Err(self.wrong(
                "the password is given twice, behind the user name and by the key \"password\"",
            )),
            (inline, by_key) => Ok(by_key.or_else(|| inline.cloned())),
        }
    }

    /// Returns all keys that begin with `prefix`, without it, for settings that are passed through to a client library.
    /// Values of the form `env:` and `file:` are resolved.
    pub fn with_prefix(&mut self, prefix: &'static str) -> Result<Vec<(&'a str, String)>> {
        self.prefixes.push(prefix);
        let all = self.address.params().iter();
        all.filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)))
            .map(|(key, value)| Ok((key, self.resolved(key, value)?)))
            .collect()
    }

    /// Ends the reading. An error if the address has a key that was not asked for; it lists those that were.
    pub fn finish(self) -> Result<()> {
        let known = |key: &str| {
            self.asked.contains(&key) || self.prefixes.iter().any(|p| key.starts_with(p))
        };
        let params = self.address.params();
        let Some(unknown) = params.iter().position(|(key, _)| !known(key)) else {
            return Ok(());
        };
        let mut keys: Vec<_> = self.asked.iter().map(|&key| key.to_owned()).collect();
        keys.extend(self.prefixes.iter().map(|prefix| format!("{prefix}*")));
        let list = if keys.is_empty() {
            "none".to_owned()
        } else {
            keys.join(", ")
        };
        // A key behind a secret may be the rest of that secret, after an `&` that was not encoded.
        let named = nameable(&params[..unknown], &params[unknown].0).unwrap_or_else(|| {
            "of the name given (not shown: it may be a part of the secret before it, where an & is written %26) "
                .to_owned()
        });
        Err(self.wrong(format!(
            "there is no address key {named}in {}:; the keys are: {list}",
            self.backend
        )))
    }

    /// Reads the environment or a file if the text says so. Errors name the variable or the path, never the value.
    fn resolved(&self, key: &str, text: &str) -> Result<String> {
        if let Some(name) = text.strip_prefix("env:") {
            // The error of a value that is not UTF-8 shows the value, so it is no source.
            return match env::var(name) {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(env::VarError::NotPresent) => Err(self.wrong(format!(
                    "{key:?} is read from the environment variable {name}, which is not set"
                ))),
                Err(env::VarError::NotUnicode(_)) => Err(self.wrong(format!(
                    "{key:?} is read from the environment variable {name}, which is not UTF-8"
                ))),
            };
        }
        let Some(path) = text.strip_prefix("file:") else {
            return Ok(text.to_owned());
        };
        match fs::read_to_string(path) {
            Ok(text) => Ok(text.trim_start_matches('\u{feff}').trim().to_owned()),
            Err(error) => Err(self
                .wrong(format!("{key:?} is read from the file {path}"))
                .with_source(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(query: &str) -> Address {
        format!("x://u:inline@h?{query}").parse().unwrap()
    }

    #[test]
    fn values_are_read_by_kind() {
        let address = address("a=text&n=7&f=true&d=250ms&k.one=1");
        let mut settings = address.settings("x");
        assert_eq!(settings.text("a").unwrap(), Some("text"));
        assert_eq!(settings.parsed::<u16>("n").unwrap(), Some(7));
        assert_eq!(settings.flag("f").unwrap(), Some(true));
        assert_eq!(
            settings.duration("d").unwrap(),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            settings.with_prefix("k.").unwrap(),
            [("one", "1".to_owned())]
        );
        assert_eq!(settings.text("absent").unwrap(), None);
        settings.finish().unwrap();
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let address = address("topik=x");
        let mut settings = address.settings("kafka");
        settings.text("topic").unwrap();
        settings.with_prefix("kafka.").unwrap();
        let error = settings.finish().unwrap_err().to_string();
        assert!(
            error.contains("\"topik\"") && error.contains("topic, kafka.*"),
            "{error}"
        );
    }

    #[test]
    fn bad_values_are_refused() {
        let address = address("n=x&d=5&e=");
        let mut settings = address.settings("x");
        assert!(settings.parsed::<u16>("n").is_err());
        assert!(settings.duration("d").is_err());
        assert!(settings.text("e").is_err());
    }

    #[test]
    fn a_password_comes_from_one_place() {
        assert_eq!(
            address("")
                .settings("x")
                .password()
                .unwrap()
                .unwrap()
                .reveal(),
            "inline"
        );
        assert!(address("password=again").settings("x").password().is_err());
        let by_file: Address = "x://u@h?password=file:/no/such/file".parse().unwrap();
        let error = by_file.settings("x").password().unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn durations_have_one_form_everywhere() {
        let millis = |text| parse_duration(text).map(|it| it.as_millis());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("1h"), Ok(3_600_000));
        assert_eq!(millis("7d"), Ok(604_800_000));
        for wrong in [
            "",
            "25",
            "h",
            "-1s",
            "1x",
            "99999999999999999999d",
            "36501d",
        ] {
            assert!(millis(wrong).unwrap_err().contains("25s"), "{wrong}");
        }
    }

    #[test]
    fn a_secret_from_a_file_has_no_white_space_around_it() {
        let path = env::temp_dir().join(format!("hubplane-secret-{}", std::process::id()));
        fs::write(&path, "\u{feff}hunter2\r\n\n").unwrap();
        let address: Address = format!("x://u@h?password=file:{}", path.display())
            .parse()
            .unwrap();
        let password = address.settings("x").password();
        fs::remove_file(&path).unwrap();
        assert_eq!(password.unwrap().unwrap().reveal(), "hunter2");
    }

    #[test]
    fn a_key_that_may_be_part_of_a_secret_is_not_named() {
        for query in ["password=a&hunter2", "password=a&hunter2=1&b=2"] {
            let address: Address = format!("x://u@h?{query}").parse().unwrap();
            let mut settings = address.settings("x");
            settings.password().unwrap();
            let error = settings.finish().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("%26"), "{error}");
        }
    }
}
