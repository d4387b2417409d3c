//! The address of a broker: one line that holds all settings of a backend. Reading it is in `address/parse.rs`; what
//! each key means is the backend's affair, by [`Settings`].

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

/// Also for errors about keys, in `settings.rs`.
pub(crate) use self::parse::nameable;
use crate::{Secret, Settings};

/// All of a backend's settings in one string:
/// `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?key=value&…]`.
///
/// User, password, path and values may be percent-encoded; an `@` behind the hosts must be. `Display` and `Debug` show
/// a password, the value of any key that looks like one, and a user name that stands alone, as `***`. No error shows
/// a part of the address that could be a secret. White space and a byte order mark around an address do not count.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// In lower case.
    scheme: String,
    username: Option<String>,
    password: Option<Secret>,
    hosts: Vec<Host>,
    path: String,
    /// Keys and values, decoded, in the order given. No key is there twice.
    params: Vec<(String, String)>,
}

/// One host of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an IP address, without the brackets of IPv6.
    pub name: String,
    /// `None` stands for the usual port of the backend.
    pub port: Option<u16>,
}

impl Host {
    /// Returns `name:port` as socket libraries take it, with `default` if no port was given.
    pub fn with_port(&self, default: u16) -> String {
        let port = self.port.unwrap_or(default);
        match self.name.contains(':') {
            true => format!("[{}]:{port}", self.name),
            false => format!("{}:{port}", self.name),
        }
    }
}

impl Address {
    /// The part before the first colon, in lower case. By it a backend is found.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user name before the `@`.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The hosts in the order given; may be empty.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The part after the `/` behind the hosts, decoded, without that slash. Empty if there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the same address with this value of a key, which it may have or not.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.params.retain(|(known, _)| known != key);
        self.params.push((key.to_owned(), value.into()));
        self
    }

    /// Returns the same address with this single host.
    #[must_use]
    pub fn at(mut self, name: impl Into<String>, port: Option<u16>) -> Self {
        let name = name.into();
        self.hosts = vec![Host { name, port }];
        self
    }

    /// Starts reading the settings. `backend` is the name that errors show.
    pub fn settings(&self, backend: &'static str) -> Settings<'_> {
        Settings::new(self, backend)
    }

    /// The password behind the user name; a backend asks [`Settings::password`], which knows the other ways, too.
    pub(crate) fn inline_password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// All keys with their values, for [`Settings`].
    pub(crate) fn params(&self) -> &[(String, String)] {
        &self.params
    }
}

/// Returns true if the value of a key must not be shown: the key sounds like a secret, and the value is not only a
/// reference to one. It rather hides too much, since backends pass keys through that nobody here knows.
pub(crate) fn is_secret(key: &str, value: &str) -> bool {
    const WORDS: [&str; 8] = [
        "pass",
        "secret",
        "token",
        "key",
        "credential",
        "jaas",
        "pem",
        "oauth",
    ];
    let key = key.to_ascii_lowercase();
    let reference = value.starts_with("env:") || value.starts_with("file:");
    !reference && WORDS.iter().any(|word| key.contains(word))
}

/// For logs and errors. It reads like the address that was given, without its secrets, and is not made to be parsed
/// again.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if !self.hosts.is_empty() || !self.path.is_empty() {
            f.write_str("//")?;
        }
        let by_key = self.params.iter().any(|(key, _)| key == "password");
        match (&self.username, &self.password) {
            (name, Some(_)) => write!(f, "{}:***@", name.as_deref().unwrap_or_default())?,
            (Some(name), None) if by_key => write!(f, "{name}@")?,
            // Some people write a token or a password alone in front of the @.
            (Some(_), None) => f.write_str("***@")?,
            (None, None) => {}
        }
        for (i, host) in self.hosts.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            match (host.name.contains(':'), host.port) {
                (true, Some(port)) => write!(f, "[{}]:{port}", host.name)?,
                (true, None) => write!(f, "[{}]", host.name)?,
                (false, Some(port)) => write!(f, "{}:{port}", host.name)?,
                (false, None) => f.write_str(&host.name)?,
            }
        }
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        for (i, (key, value)) in self.params.iter().enumerate() {
            let shown = if is_secret(key, value) { "***" } else { value };
            write!(f, "{}{key}={shown}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// As `Display`: a derived one would show the secrets among the keys.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
