use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;

use crate::{Error, ErrorKind, Result, Secret, Settings};

/// All of a backend's settings in one string:
/// `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?key=value&…]`.
///
/// User, password, path and values may be percent-encoded. `Display` and `Debug` show a password, and the value
/// of any key that looks like one, as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    scheme: String,
    username: Option<String>,
    password: Option<Secret>,
    hosts: Vec<Host>,
    path: String,
    params: Vec<(String, String)>,
}

/// One host of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an IP address, without the brackets of IPv6.
    pub name: String,
    /// `None` where the address leaves it to the backend's default.
    pub port: Option<u16>,
}

impl Host {
    /// `name:port` as socket libraries take it, with `default` where no port was given.
    pub fn with_port(&self, default: u16) -> String {
        let port = self.port.unwrap_or(default);
        match self.name.contains(':') {
            true => format!("[{}]:{port}", self.name),
            false => format!("{}:{port}", self.name),
        }
    }
}

impl Address {
    /// The part before the first colon, in lower case.
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

    /// What stands after the hosts' `/`, decoded, without that slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same address with another value of a key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.params.retain(|(known, _)| known != key);
        self.params.push((key.to_owned(), value.into()));
        self
    }

    /// The same address at another host.
    #[must_use]
    pub fn at(mut self, name: impl Into<String>, port: Option<u16>) -> Self {
        let name = name.into();
        self.hosts = vec![Host { name, port }];
        self
    }

    /// Starts reading the settings; `backend` names who asks, in errors.
    pub fn settings(&self, backend: &'static str) -> Settings<'_> {
        Settings::new(self, backend)
    }

    pub(crate) fn inline_password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    pub(crate) fn params(&self) -> &[(String, String)] {
        &self.params
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "address", message)
}

fn decoded(text: &str, what: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(error) => {
            Err(wrong(format!("the {what} is not UTF-8 once percent-decoded")).with_source(error))
        }
    }
}

fn host(text: &str) -> Result<Host> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() {
        return Err(wrong(format!("a host name is missing in {text:?}")));
    }
    let port = match port {
        Some(port) => Some(port.parse().map_err(|error| {
            wrong(format!(
                "{port:?} is no port of {name}; a port is a number up to 65535"
            ))
            .with_source(error)
        })?),
        None => None,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(wrong(
                "an address begins with a scheme, such as memory: or redis://127.0.0.1:6379",
            ));
        };
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(valid) {
            return Err(wrong("what stands before the first colon is no scheme"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let rest = match rest.strip_prefix("//") {
            Some(rest) => rest,
            None if rest.is_empty() => rest,
            None => return Err(wrong(format!("// is missing after {scheme}:"))),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, "")))
        {
            Some((name, password)) => (
                Some(decoded(name, "user name")?).filter(|name| !name.is_empty()),
                Some(decoded(password, "password")?)
                    .filter(|p| !p.is_empty())
                    .map(Secret::new),
            ),
            None => (None, None),
        };
        let hosts = hosts
            .split(',')
            .filter(|host| !host.is_empty())
            .map(host)
            .collect::<Result<_>>()?;
        let mut params: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decoded(key, "key")?, decoded(value, "value")?);
            if params.iter().any(|(known, _)| *known == key) {
                return Err(wrong(format!("the key {key:?} is given twice")));
            }
            params.push((key, value));
        }
        let path = decoded(path, "path")?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            username,
            password,
            hosts,
            path,
            params,
        })
    }
}

/// Whether a setting's value must not be shown.
fn is_secret(key: &str, value: &str) -> bool {
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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if !self.hosts.is_empty() || !self.path.is_empty() {
            f.write_str("//")?;
        }
        match (&self.username, &self.password) {
            (name, Some(_)) => write!(f, "{}:***@", name.as_deref().unwrap_or_default())?,
            (Some(name), None) => write!(f, "{name}@")?,
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

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_found() {
        let address: Address =
            "kafka://me:p%40ss@a:9092,[::1]:9093,c/some/path?topic=news&kafka.x=1%262"
                .parse()
                .unwrap();
        assert_eq!(address.scheme(), "kafka");
        assert_eq!(address.username(), Some("me"));
        assert_eq!(address.inline_password().unwrap().reveal(), "p@ss");
        let hosts: Vec<_> = address
            .hosts()
            .iter()
            .map(|host| host.with_port(1))
            .collect();
        assert_eq!(hosts, ["a:9092", "[::1]:9093", "c:1"]);
        assert_eq!(address.path(), "some/path");
        assert_eq!(
            address.params()[1],
            ("kafka.x".to_owned(), "1&2".to_owned())
        );
    }

    #[test]
    fn parts_can_be_exchanged() {
        let address: Address = "redis://me:secret@a:1,b/0?prefix=x&tls=true"
            .parse()
            .unwrap();
        let moved = address.with("prefix", "a&b").at("h", Some(7));
        assert_eq!(
            moved.to_string(),
            "redis://me:***@h:7/0?tls=true&prefix=a&b"
        );
        assert_eq!(moved.inline_password().unwrap().reveal(), "secret");
        assert_eq!(moved.settings("x").text("prefix").unwrap(), Some("a&b"));
    }

    #[test]
    fn short_forms_are_addresses() {
        let memory: Address = "memory:".parse().unwrap();
        assert!(memory.hosts().is_empty());
        let named: Address = "memory://news".parse().unwrap();
        assert_eq!(named.hosts()[0].name, "news");
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "redis://u:hunter2@h/0?password=hunter2&kafka.ssl.key.password=hunter2&\
                    password-file=file:/x&ca=/ca.pem";
        let shown = format!("{0} {0:?}", text.parse::<Address>().unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("file:/x") && shown.contains("/ca.pem"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for text in [
            "redis",
            ":x",
            "a b://x",
            "redis:x",
            "redis://h:70000",
            "redis://:1",
            "redis://h?a=1&a=2",
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap_err().kind(),
                ErrorKind::Config,
                "{text}"
            );
        }
        let error = "re dis://u:hunter2@h"
            .parse::<Address>()
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
