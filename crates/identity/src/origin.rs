//! Origins of browsers' pages (RFC 6454): `https://app.example`, without the port if it is the
//! scheme's own.
//!
//! Both sides of a comparison are brought into one form first, since an operator writes an origin
//! differently than a browser sends it. A setting may stand for all subdomains of a name:
//! `https://*.app.example`, as in servers' settings for CORS. This file must not know which origins
//! are allowed.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Uri, header};

/// The setting that allows pages of every origin.
pub const ANY: &str = "*";
/// What browsers send for a page without an origin, such as one from a file.
const OPAQUE: &str = "null";
/// Stands between scheme and name in a setting for all names below that name.
const SUBDOMAINS: &str = "://*.";

/// Reads an origin as people write it in a setting, and returns it as a browser sends it: in lower case, without a slash
/// at its end and without the scheme's own port. [`ANY`] and `null` stay as they are.
///
/// `https://*.app.example` stands for every name below `app.example`, with one label in front or with several, and not for
/// `app.example` itself. Scheme and port have to be the same, as always.
///
/// # Errors
/// Returns a sentence for people if no browser ever sends such an origin, so that it would never
/// match.
pub fn parse_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == ANY || text.eq_ignore_ascii_case(OPAQUE) {
        return Ok(text.to_ascii_lowercase());
    }
    let origin = text.strip_suffix('/').unwrap_or(text);
    let read = match origin.split_once(SUBDOMAINS) {
        Some((scheme, parent)) => subdomains_of(scheme, parent),
        None => normal(origin),
    };
    read.ok_or_else(|| {
        // An origin holds no @; an address of a broker in its place may hold a password.
        let shown = if text.contains('@') { "given" } else { text };
        format!(
            "the origin {shown:?} can never match: write scheme, host and port of the page alone, such as \
             https://app.example or http://localhost:3000 (a name in other letters as xn--…), https://*.app.example for \
             all names below app.example, or * for all"
        )
    })
}

/// Returns the setting for all names below `parent`, in normal form. `None`: no name is below an address, and a star
/// stands for whole labels only.
fn subdomains_of(scheme: &str, parent: &str) -> Option<String> {
    let parent = normal(&format!("{scheme}://{parent}"))?;
    let (scheme, host) = parent.split_once("://")?;
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let is_name = !name.starts_with('[') && name.parse::<IpAddr>().is_err();
    (is_name && has_labels(name)).then(|| format!("{scheme}{SUBDOMAINS}{host}"))
}

/// Returns true if none of the labels between the dots is empty.
fn has_labels(name: &str) -> bool {
    name.split('.').all(|label| !label.is_empty())
}

/// Returns true if the setting `known`, as [`parse_origin`] returns it, allows the page's origin `sent`, as a browser
/// sends it.
fn allows(known: &str, sent: &str) -> bool {
    if known == ANY {
        return true;
    }
    let Some(page) = normal(sent) else {
        // What can't be brought into the normal form, such as `null`, is compared as it was sent.
        return known == sent && !known.contains(SUBDOMAINS);
    };
    let Some((scheme, parent)) = known.split_once(SUBDOMAINS) else {
        return known == page;
    };
    let below = page
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
        .and_then(|rest| rest.strip_suffix(parent))
        .and_then(|rest| rest.strip_suffix('.'));
    // A colon in front of the parent would make it a port, not a name.
    below.is_some_and(|below| has_labels(below) && !below.contains([':', '[', ']']))
}

/// Returns a browser's origin in the one form in which two of them can be compared, or `None` if it
/// is not an origin.
fn normal(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = host_and_port(authority)?;
    let valid =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let uri: Uri = text.parse().ok()?;
    if !host.chars().all(valid) || uri.query().is_some() || uri.path().len() > 1 {
        return None;
    }
    Some(match port.filter(|port| Some(*port) != own_port(&scheme)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// Returns true if the request may come from where it says: programs send no `Origin`, and a page's
/// must be one of those that are allowed, or the server's own host where none are.
pub(super) fn is_allowed(allowed: &[String], headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    match allowed {
        [] => is_own(origin, headers),
        some => some.iter().any(|known| allows(known, origin)),
    }
}

/// Returns true if a page's origin names the host and port that the request is for. Behind a balancer that ends TLS,
/// `Host` is what the browser sent, so the scheme's own port is the same whether it is written or not.
fn is_own(origin: &str, headers: &HeaderMap<HeaderValue>) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(host_and_port);
    let page = origin.split_once("://").and_then(|(scheme, authority)| {
        let (host, port) = host_and_port(authority)?;
        Some((own_port(&scheme.to_ascii_lowercase()), host, port))
    });
    match (host, page) {
        (Some((host, port)), Some((own, page_host, page_port))) => {
            host == page_host && port.or(own) == page_port.or(own)
        }
        _ => false,
    }
}

/// Returns the port that a URL of this scheme has if it names none.
fn own_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Returns the host in lower case, and the port if there is one. `None`: there is no host, or the
/// port is no number.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside of the brackets is part of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_people_write_it() {
        for (written, sent) in [
            ("https://app.example", "https://app.example"),
            ("https://app.example/", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            (" http://app.example:80\n", "http://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("HTTPS://*.App.Example:443/", "https://*.app.example"),
            ("http://*.localhost:3000", "http://*.localhost:3000"),
            ("null", "null"),
            ("*", "*"),
        ] {
            assert_eq!(parse_origin(written).as_deref(), Ok(sent), "{written}");
        }
    }

    #[test]
    fn an_origin_that_never_matches_is_refused() {
        for text in [
            "app.example",
            "app.example:443",
            "https://",
            "https://app.example/path",
            "https://app.example?x",
            "https://app.example#x",
            "https://u@app.example",
            "https://*",
            "https://*.",
            "https://*app.example",
            "https://app.*.example",
            "https://*.*.example",
            "https://*.app.example/path",
            "https://*.u@app.example",
            "https://*..app.example",
            "https://*.10.0.0.1",
            "https://*.[::1]",
            "*.app.example",
            "https://bücher.example",
            "https://app.example:x",
            "https://app.example:70000",
            "https://a.example https://b.example",
        ] {
            let error = parse_origin(text).expect_err(text);
            assert!(error.contains("https://app.example or"), "{error}");
        }
    }

    #[test]
    fn a_star_stands_for_the_labels_of_a_subdomain_alone() {
        let known = parse_origin("https://*.app.example").unwrap();
        for page in [
            "https://a.app.example",
            "https://a.b.app.example",
            "https://A.App.Example:443",
        ] {
            assert!(allows(&known, page), "{page}");
        }
        for trick in [
            "https://app.example",
            "https://.app.example",
            "https://a..app.example",
            "https://evilapp.example",
            "https://evil-app.example",
            "https://a.app.example.evil",
            "https://a.app.example:8443",
            "https://evil:1.app.example",
            "https://evil/.app.example",
            "https://evil?.app.example",
            "https://evil#.app.example",
            "https://evil\\.app.example",
            "https://u@a.app.example",
            "https://*.app.example",
            "https://[::1].app.example",
            "https://[a].app.example",
            "https://[a.app.example",
            "https://a].app.example",
            "http://a.app.example",
            "httpss://a.app.example",
            "a.app.example",
            "null",
            "",
        ] {
            assert!(!allows(&known, trick), "{trick}");
        }
        let known = parse_origin("http://*.localhost:3000").unwrap();
        assert!(allows(&known, "http://a.localhost:3000"));
        assert!(!allows(&known, "http://a.localhost"));
        assert!(!allows(&known, "http://a.localhost:30000"));
    }
}
