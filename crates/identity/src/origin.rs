//! Origins of browsers' pages (RFC 6454): `https://app.example`, without the port if it is the
//! scheme's own.
//!
//! Both sides of a comparison are brought into one form first, since an operator writes an origin
//! differently than a browser sends it. This file must not know which origins are allowed.

use http::{HeaderMap, HeaderValue, Uri, header};

/// The setting that allows pages of every origin.
pub const ANY: &str = "*";
/// What browsers send for a page without an origin, such as one from a file.
const OPAQUE: &str = "null";

/// Reads an origin as people write it in a setting, and returns it as a browser sends it: in lower case, without a slash
/// at its end and without the scheme's own port. [`ANY`] and `null` stay as they are.
///
/// # Errors
/// Returns a sentence for people if no browser ever sends such an origin, so that it would never
/// match.
pub fn parse_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == ANY || text.eq_ignore_ascii_case(OPAQUE) {
        return Ok(text.to_ascii_lowercase());
    }
    normal(text.strip_suffix('/').unwrap_or(text)).ok_or_else(|| {
        // An origin holds no @; an address of a broker in its place may hold a password.
        let shown = if text.contains('@') { "given" } else { text };
        format!(
            "the origin {shown:?} can never match: write scheme, host and port of the page alone, such as \
             https://app.example or http://localhost:3000 (a name in other letters as xn--…), or * for all"
        )
    })
}

/// Returns a browser's origin in the one form in which two of them can be compared, or `None` if it
/// is not an origin.
pub(super) fn normal(text: &str) -> Option<String> {
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

/// Returns true if a page's origin names the host and port that the request is for. Behind a balancer that ends TLS,
/// `Host` is what the browser sent, so the scheme's own port is the same whether it is written or not.
pub(super) fn is_own(origin: &str, headers: &HeaderMap<HeaderValue>) -> bool {
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
            "https://*.app.example",
            "https://bücher.example",
            "https://app.example:x",
            "https://app.example:70000",
            "https://a.example https://b.example",
        ] {
            let error = parse_origin(text).expect_err(text);
            assert!(error.contains("https://app.example or"), "{error}");
        }
    }
}
