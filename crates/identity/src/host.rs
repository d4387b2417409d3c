//! The names that a hub answers to.
//!
//! A page of a foreign name may change its DNS entry to this machine's address (“DNS rebinding”).
//! Its requests then carry that name as `Host` and as `Origin`, so the two agree and look like a
//! page of the hub's own. A hub that knows its own names refuses such a request.

use std::net::IpAddr;

/// Which `Host` headers a server takes.
#[derive(Clone, Debug, Default)]
pub enum Hosts {
    /// Every `Host`.
    #[default]
    Any,
    /// Addresses, `localhost` and names below it, and these names, each as [`parse_host`] returns
    /// it.
    Named(Vec<String>),
}

/// Reads a host's name as an operator writes it, and returns it in lower case and without a dot at
/// its end.
///
/// # Errors
/// Returns a sentence for people if the name can never match, for example because it has a scheme
/// or a port.
pub fn parse_host(text: &str) -> Result<String, String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || !name.chars().all(valid) {
        return Err(format!(
            "the host {text:?} can never match: write a name alone, such as hub.example, without scheme and port"
        ));
    }
    Ok(name)
}

impl Hosts {
    /// Returns true if a server with these names answers to `host`, the value of a request's
    /// `Host`.
    pub(super) fn allow(&self, host: &str) -> bool {
        let Self::Named(names) = self else {
            return true;
        };
        let name = match host.rsplit_once(':') {
            // A colon inside of the brackets is part of an IPv6 address.
            Some((name, port)) if !port.ends_with(']') => name,
            _ => host,
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || name.ends_with(".localhost")
            // DNS can't make an address mean another machine.
            || address.parse::<IpAddr>().is_ok()
            || names.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_name_is_refused() {
        let hosts = Hosts::Named(vec![parse_host(" Hub.Example. ").unwrap()]);
        for own in [
            "hub.example",
            "HUB.example.:8080",
            "localhost",
            "a.localhost:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "10.1.2.3",
        ] {
            assert!(hosts.allow(own), "{own}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:8080",
            "hub.example.evil",
            "localhost.evil",
            "127.0.0.1.evil",
        ] {
            assert!(!hosts.allow(foreign), "{foreign}");
            assert!(Hosts::Any.allow(foreign));
        }
        for never in ["", "https://hub.example", "hub.example:80", "*"] {
            assert!(parse_host(never).is_err(), "{never}");
        }
    }
}
