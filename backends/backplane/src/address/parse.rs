//! Reads an address. An error never shows a part of it that could be a secret: a `/`, `?` or `#` in a password moves
//! the rest of the password to where a port, a path or a key is looked for.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use percent_encoding::percent_decode_str;

use super::{Address, Host, is_secret};
use crate::{Error, ErrorKind, Result, Secret};

/// The advice in errors that an unencoded character of a password may have caused.
const ENCODE: &str = "in a user name or password, write / ? # @ : % & and spaces percent-encoded (%2F for /, %3F for ?, \
                      %23 for #, %40 for @), or give the password as ?password=env:NAME or ?password=file:PATH";

/// An error about the address itself. The message must not repeat text from it, other than what is known to be
/// harmless.
fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "address", message)
}

/// Percent-decodes a part; `what` is its name in the error, which does not show the part.
fn decoded(text: &str, what: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(error) => {
            Err(wrong(format!("the {what} is not UTF-8 once percent-decoded")).with_source(error))
        }
    }
}

/// Returns the scheme in lower case, and what follows its colon.
fn scheme(text: &str) -> Result<(String, &str)> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let no_scheme = || {
        // A bare host and port can be shown: an IP address and `localhost` are nobody's secret.
        let host = text.rsplit_once(':').map_or(text, |(host, _port)| host);
        let shown = host == "localhost" || host.parse::<IpAddr>().is_ok();
        match shown {
            true => wrong(format!(
                "{host} has no scheme in front; write redis://{host}:6379, for example"
            )),
            false => wrong(
                "an address begins with a scheme, such as redis://127.0.0.1:6379, kafka://127.0.0.1:9092, \
                 amqp://127.0.0.1:5672 or memory:",
            ),
        }
    };
    match text.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(valid)
                && scheme != "localhost" =>
        {
            Ok((scheme.to_ascii_lowercase(), rest))
        }
        _ => Err(no_scheme()),
    }
}

/// Returns true if `name` can be a host: a name, an IPv4 address, or an IPv6 address with or without a zone.
fn is_host(name: &str, bracketed: bool) -> bool {
    if bracketed {
        let (address, zone) = name.split_once('%').unwrap_or((name, "0"));
        let zone_valid = !zone.is_empty() && zone.chars().all(char::is_alphanumeric);
        return address.parse::<Ipv6Addr>().is_ok() && zone_valid;
    }
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Reads `name`, `name:port`, `[IPv6]` or `[IPv6]:port`. Port 0 is refused: nobody can listen there.
fn host(text: &str) -> Result<Host> {
    // IPv6 has colons of its own, so it needs brackets.
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = match bracketed {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if !is_host(name, bracketed.is_some()) {
        return Err(wrong(format!(
            "a host is missing, or is neither a name nor an IP address (IPv6 in brackets); {ENCODE}"
        )));
    }
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => {
            return Err(wrong(format!(
                "a host's port is a number from 1 to 65535; {ENCODE}"
            )));
        }
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

/// Returns the user name and the password of `user[:password]`.
fn login(user: &str) -> Result<(Option<String>, Option<Secret>)> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let (name, password) = (decoded(name, "user name")?, decoded(password, "password")?);
    Ok((
        Some(name).filter(|name| !name.is_empty()),
        Some(password).filter(|it| !it.is_empty()).map(Secret::new),
    ))
}

/// Reads `key=value` pairs; a key alone has an empty value, which a backend refuses when it asks. A key that is given
/// twice is an error: which of them counts would be a guess.
fn params(query: &str) -> Result<Vec<(String, String)>> {
    let mut params: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key, "key")?, decoded(value, "value")?);
        if params.iter().any(|(known, _)| *known == key) {
            let named = nameable(&params, &key).unwrap_or_default();
            return Err(wrong(format!("the key {named}is given twice")));
        }
        params.push((key, value));
    }
    Ok(params)
}

/// Returns a key as an error may show it, quoted and with a space behind. Returns `None` if it may be a part of a
/// secret: the value of a key before it may hold an `&` that was not encoded.
pub(crate) fn nameable(before: &[(String, String)], key: &str) -> Option<String> {
    let after_secret = before.iter().any(|(key, value)| is_secret(key, value));
    (!after_secret).then(|| format!("{key:?} "))
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // An address often comes from a file, where editors leave a byte order mark or a newline.
        let text = text.trim_start_matches('\u{feff}').trim();
        let (scheme, rest) = scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let rest = match rest.strip_prefix("//") {
            Some(rest) => rest,
            // `memory:` alone is an address.
            None if rest.is_empty() => rest,
            None => {
                return Err(wrong(
                    "// is missing after the scheme, as in redis://127.0.0.1:6379",
                ));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The hosts end at the first `/`, so a password with a `/` ends up in the path, and the `@` with it.
        if path.contains('@') || query.contains('@') {
            return Err(wrong(format!("there is an @ behind the hosts; {ENCODE}")));
        }
        // The last `@` separates: a password may hold one that was not encoded.
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let (username, password) = match user {
            Some(user) => login(user)?,
            None => (None, None),
        };
        // A comma too many between hosts is forgiven.
        let hosts = hosts
            .split(',')
            .filter(|host| !host.is_empty())
            .map(host)
            .collect::<Result<_>>()?;
        Ok(Self {
            scheme,
            username,
            password,
            hosts,
            path: decoded(path, "path")?,
            params: params(query)?,
        })
    }
}
