//! Who may do what: the hub's key, the pages whose scripts may connect, and the host names that the
//! hub answers to.
//!
//! What must hold: no key is kept or shown as text, comparing takes the same time for every key,
//! and a request that shows a wrong key gets an error instead of the rights of anybody. This crate
//! must not know sockets or routes. What a grant allows is decided by `Grant::allows` in the hub.
//! Signed tokens ([`token`]) are behind the feature `tokens`.

mod host;
mod origin;
#[cfg(feature = "tokens")]
pub mod token;

use std::{fmt, fs, path::Path};

use http::{HeaderMap, header};
use hubplane_hub::{Authority, Grant, Unproven};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use self::{
    host::{Hosts, parse_host},
    origin::{ANY, parse_origin},
};

/// The shortest key in bytes. `openssl rand -hex 32` makes one of 64.
pub const MIN_KEY: usize = 32;

/// The key that publishers must show. Only its SHA-256 digest is kept, and digests are compared in
/// constant time, so the time of an answer tells nothing about the key.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Reads a key from a file, as [`read_key`] does.
    ///
    /// # Errors
    /// A sentence: the file can't be read, or the key is shorter than [`MIN_KEY`] bytes.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        Self::new(&read_key(path)?)
            .map_err(|error| format!("the key file {}: {error}", path.display()))
    }

    /// Returns the key of this text.
    ///
    /// # Errors
    /// A sentence: it is shorter than [`MIN_KEY`] bytes.
    pub fn new(key: &str) -> Result<Self, String> {
        if key.len() < MIN_KEY {
            return Err(format!(
                "a key has at least {MIN_KEY} bytes; `openssl rand -hex 32` makes one"
            ));
        }
        Ok(Self(Sha256::digest(key.as_bytes()).into()))
    }

    /// Returns true if `given` is the key.
    fn matches(&self, given: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        self.0.ct_eq(&digest).into()
    }
}

/// Reads the text of a key file. White space and a byte order mark around the key do not count.
///
/// # Errors
/// Returns a sentence that names the file, which can't be read.
pub fn read_key(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("the key file {}: {error}", path.display()))?;
    Ok(text.trim_start_matches('\u{feff}').trim().to_owned())
}

/// Shows nothing of the key, not even its digest.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// What a server lets in: the key, the origins of pages, and the host names.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The key. Without one, whoever reaches the server may publish.
    pub key: Option<Key>,
    /// Origins of pages that may connect, each as [`parse_origin`] returns it; [`ANY`] allows all, none means pages of
    /// this server's own host.
    pub origins: Vec<String>,
    /// The names that this server answers to.
    pub hosts: Hosts,
}

/// A request shows a proof, and it is not the key. The server answers 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongKey;

impl Access {
    /// Returns what a request may do, by `Authorization: Bearer …` (RFC 6750, 2.1). A request
    /// without that header may do what anybody may. If the hub has no key, everybody may do
    /// everything.
    ///
    /// # Errors
    /// The header is there and does not hold the key. Such a client is told so, and not let in as
    /// anybody.
    pub fn grant_of(&self, headers: &HeaderMap) -> Result<Grant, WrongKey> {
        let Some(key) = &self.key else {
            return Ok(Grant::key());
        };
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(Grant::anonymous());
        };
        let given = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match given {
            Some(given) if key.matches(given) => Ok(Grant::key()),
            _ => Err(WrongKey),
        }
    }

    /// Returns true if the server answers to this `Host`, with or without a port.
    pub fn host_is_allowed(&self, host: &str) -> bool {
        self.hosts.allow(host)
    }

    /// Returns true if a browser's page may talk to this server (RFC 6454). Programs send no `Origin` and are let in:
    /// what is kept out is a foreign page that uses its visitor's network.
    pub fn origin_is_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        if !self.origins.is_empty() {
            // What can't be brought into the normal form, such as `null`, is compared as it was
            // sent.
            let sent = origin::normal(origin);
            let sent = sent.as_deref().unwrap_or(origin);
            return self
                .origins
                .iter()
                .any(|known| known == ANY || known == sent);
        }
        origin::is_own(origin, headers)
    }
}

/// Checks the key as a proof that a session shows after it has connected. A server without a key
/// asks for none, so nothing proves anything there.
impl Authority for Access {
    fn grant(&self, proof: &str) -> Result<Grant, Unproven> {
        match &self.key {
            None => Err(Unproven("this hub has no key, so none is needed".into())),
            Some(key) if key.matches(proof) => Ok(Grant::key()),
            Some(_) => Err(Unproven("the key is wrong".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use hubplane_hub::Who;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_key_is_the_key() {
        let text = "k".repeat(MIN_KEY);
        let access = Access {
            key: Some(Key::new(&text).unwrap()),
            ..Access::default()
        };
        let who = |access: &Access, pairs: &[(&'static str, &str)]| {
            access.grant_of(&headers(pairs)).map(|grant| grant.who)
        };
        assert_eq!(who(&access, &[]), Ok(Who::Anonymous));
        let bearer = format!("bearer {text}");
        assert_eq!(who(&access, &[("authorization", &bearer)]), Ok(Who::Key));
        let without = who(&Access::default(), &[("authorization", "Basic a2s=")]);
        assert_eq!(without, Ok(Who::Key), "a hub without a key");
        for wrong in [
            "Bearer x",
            "Basic a2s=",
            "Bearer",
            &format!("Bearer {text}x"),
        ] {
            let refused = who(&access, &[("authorization", wrong)]);
            assert_eq!(refused, Err(WrongKey), "{wrong}");
        }
        assert!(Key::new("short").is_err());
        assert!(!format!("{access:?}").contains(&text));
    }

    #[test]
    fn foreign_pages_are_kept_out() {
        let own = Access::default();
        let from = |origin: &str| headers(&[("host", "app.example:8080"), ("origin", origin)]);
        assert!(own.origin_is_allowed(&headers(&[("host", "app.example")])));
        assert!(own.origin_is_allowed(&from("http://app.example:8080")));
        for foreign in [
            "http://app.example",
            "https://evil.example",
            "null",
            "http://app.example:8080.evil",
        ] {
            assert!(!own.origin_is_allowed(&from(foreign)), "{foreign}");
        }
        for (host, origin) in [
            ("app.example:443", "https://app.example"),
            ("app.example", "https://app.example:443"),
            ("APP.example", "http://app.example:80"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            let same = headers(&[("host", host), ("origin", origin)]);
            assert!(own.origin_is_allowed(&same), "{host} {origin}");
        }
        let other_port = headers(&[
            ("host", "app.example:80"),
            ("origin", "https://app.example"),
        ]);
        assert!(!own.origin_is_allowed(&other_port));
        let listed = Access {
            origins: vec!["https://app.example".to_owned()],
            ..Access::default()
        };
        assert!(listed.origin_is_allowed(&from("https://app.example")));
        assert!(listed.origin_is_allowed(&from("https://App.example:443")));
        assert!(!listed.origin_is_allowed(&from("http://app.example:8080")));
        let all = Access {
            origins: vec!["*".to_owned()],
            ..Access::default()
        };
        assert!(all.origin_is_allowed(&from("null")));
    }
}
