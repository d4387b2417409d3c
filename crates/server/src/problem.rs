//! Errors of the HTTP side: problem documents (RFC 9457, `application/problem+json`).
//!
//! Every refusal of the server is one of these, also in routes that a mount brings. A `detail` must
//! not hold a secret, nor the address of a broker.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hubplane_hub::Limited;
use serde_json::{Map, Value};

/// One problem, ready to be the answer to a request.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    /// Returns a problem. `detail` is a sentence for people: what happened, and what to do about
    /// it.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            more: Map::new(),
            header: None,
        }
    }

    /// Adds a member to the document, such as `retryable`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds one header to the answer. A second call replaces the first.
    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some(Box::new((name, HeaderValue::from_static(value))));
        self
    }
}

impl Problem {
    /// Says after which time the request is worth trying again (RFC 9110, 10.2.3), in whole seconds,
    /// at least one.
    pub(super) fn with_retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        self.header = Some(Box::new((header::RETRY_AFTER, seconds.into())));
        self
    }

    /// Returns 429 (RFC 6585, 4) for a limit that is reached: its name, and when to try again.
    pub(super) fn limited(limited: &Limited) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, limited.to_string())
            .with("limit", limited.limit.as_str())
            .with("retryable", true)
            .with_retry_after(limited.after)
    }
}

impl warp::Reply for Problem {
    fn into_response(self) -> warp::reply::Response {
        let mut body = Map::new();
        body.insert("type".to_owned(), "about:blank".into());
        body.insert(
            "title".to_owned(),
            self.status.canonical_reason().unwrap_or("Error").into(),
        );
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.into());
        body.extend(self.more);
        let mut response = Response::new(Value::Object(body).to_string().into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        // The headers that HTTP asks for with each of these (RFC 9110: 10.2.3, 11.6.1, 7.8).
        let required: &[_] = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => &[(header::RETRY_AFTER, "1")],
            StatusCode::UNAUTHORIZED => &[(header::WWW_AUTHENTICATE, "Bearer")],
            StatusCode::UPGRADE_REQUIRED => &[
                (header::UPGRADE, "websocket"),
                (header::CONNECTION, "Upgrade"),
                (header::SEC_WEBSOCKET_VERSION, "13"),
            ],
            _ => &[],
        };
        for (name, value) in required.iter().cloned() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.extend(self.header.map(|header| *header));
        response
    }
}
