//! What a backend is asked, and its JSON. The protocol is described in [the module](super).
//!
//! What must hold: no header is passed on that the settings do not name, and a question's `Debug`
//! shows no header and no data. This file is pure: it must not know how a question travels.

use std::{borrow::Cow, fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// What a client wants to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wish<'a> {
    /// To connect, or to renew a permission that is about to end.
    Connect,
    /// To subscribe to a channel.
    Subscribe {
        /// The channel's name.
        channel: &'a str,
    },
    /// To publish a message.
    Publish {
        /// The channel's name.
        channel: &'a str,
        /// The message's bytes.
        data: &'a [u8],
    },
}

impl Wish<'_> {
    /// Returns the word for it, in questions and in messages to people.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe { .. } => "subscribe",
            Self::Publish { .. } => "publish",
        }
    }
}

/// Shows no data.
impl fmt::Debug for Wish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Subscribe { channel } => write!(f, "subscribe to {channel:?}"),
            Self::Publish { channel, data } => {
                write!(f, "publish {} bytes to {channel:?}", data.len())
            }
        }
    }
}

/// A question about a client.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// What it wants to do.
    pub wish: Wish<'a>,
    /// The user, if one is known.
    pub user: Option<&'a str>,
    /// The client's own name, if it has one.
    pub client: Option<&'a str>,
    /// The address that the client comes from.
    pub address: IpAddr,
    /// All headers of its request; only those that the settings name are passed on.
    pub headers: &'a HeaderMap,
}

/// Shows no headers.
impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("wish", &self.wish)
            .field("user", &self.user)
            .field("client", &self.client)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A question's JSON.
#[derive(Serialize)]
struct Json<'a> {
    r#type: &'static str,
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    headers: Passed<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

impl Question<'_> {
    /// Returns the body of the request to the backend, with the headers of these names.
    pub(super) fn body(&self, names: &[HeaderName]) -> Bytes {
        let (channel, data) = match self.wish {
            Wish::Connect => (None, None),
            Wish::Subscribe { channel } => (Some(channel), None),
            Wish::Publish { channel, data } => (Some(channel), Some(Data(data))),
        };
        let json = Json {
            r#type: self.wish.word(),
            // A socket for both families shows IPv4 addresses as IPv6 ones.
            address: self.address.to_canonical(),
            user: self.user,
            client: self.client,
            channel,
            headers: Passed {
                names,
                all: self.headers,
            },
            data,
        };
        let body = serde_json::to_vec(&json);
        body.expect("invariant: texts and maps of texts are always JSON")
            .into()
    }
}

/// The headers that are passed on, by their names in lower case.
struct Passed<'a> {
    names: &'a [HeaderName],
    all: &'a HeaderMap,
}

impl Serialize for Passed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.names {
            if let Some(value) = joined(name, self.all) {
                map.serialize_entry(name.as_str(), &value)?;
            }
        }
        map.end()
    }
}

/// Returns a header's value; several ones are joined as RFC 9110 (5.3) says, and cookies as RFC 9113
/// (8.2.3) does. `None` if there is none, or if one is no text: half of it could mean something else.
fn joined<'a>(name: &HeaderName, all: &'a HeaderMap) -> Option<Cow<'a, str>> {
    let text = |value: &'a header::HeaderValue| std::str::from_utf8(value.as_bytes()).ok();
    let values: Option<Vec<_>> = all.get_all(name).iter().map(text).collect();
    match &values?[..] {
        [] => None,
        [one] => Some(Cow::Borrowed(one)),
        more => Some(Cow::Owned(more.join(if name == header::COOKIE {
            "; "
        } else {
            ", "
        }))),
    }
}

/// A message's data in the form in which clients see it: JSON as it is, other text as a string, other bytes
/// as `{"base64":"…"}`.
struct Data<'a>(&'a [u8]);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Ok(text) = std::str::from_utf8(self.0) else {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("base64", &STANDARD.encode(self.0))?;
            return map.end();
        };
        match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => json.serialize(serializer),
            Err(_) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cookie", "sid=1"),
            ("cookie", "b=2"),
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("authorization", "Bearer hidden"),
            ("x-broken", "fine"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append(
            "x-broken",
            header::HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        headers
    }

    fn body(wish: Wish<'_>, names: &[HeaderName]) -> String {
        let headers = headers();
        let question = Question {
            wish,
            user: Some("ann"),
            client: None,
            address: "::ffff:192.0.2.1".parse().unwrap(),
            headers: &headers,
        };
        assert!(!format!("{question:?}").contains("hidden"));
        String::from_utf8(question.body(names).to_vec()).unwrap()
    }

    #[test]
    fn only_named_headers_are_passed_on() {
        let start = r#"{"type":"connect","address":"192.0.2.1","user":"ann","headers":"#;
        assert_eq!(body(Wish::Connect, &[]), format!("{start}{{}}}}"));
        let names =
            ["cookie", "x-tenant", "x-absent", "x-broken"].map(|name| name.parse().unwrap());
        let passed = r#"{"cookie":"sid=1; b=2","x-tenant":"a, b"}"#;
        assert_eq!(body(Wish::Connect, &names), format!("{start}{passed}}}"));
    }

    #[test]
    fn a_message_is_asked_about_as_clients_see_it() {
        for (data, json) in [
            (&b" {\"hidden\":1} "[..], r#"{"hidden":1}"#),
            (b"hidden", r#""hidden""#),
            (b"\xff", r#"{"base64":"/w=="}"#),
        ] {
            let wish = Wish::Publish { channel: "c", data };
            assert!(!format!("{wish:?}").contains("hidden"));
            let end = format!(r#""channel":"c","headers":{{}},"data":{json}}}"#);
            let body = body(wish, &[]);
            assert!(
                body.starts_with(r#"{"type":"publish","#) && body.ends_with(&end),
                "{body}"
            );
        }
        assert!(body(Wish::Subscribe { channel: "ü" }, &[]).contains(r#""type":"subscribe""#));
    }
}
