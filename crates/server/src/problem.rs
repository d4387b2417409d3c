//! Errors of the HTTP side: problem documents (RFC 9457).

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

/// One problem, ready to be answered.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
    header: Option<(HeaderName, &'static str)>,
}

impl Problem {
    /// A problem: `detail` says what happened and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            more: Map::new(),
            header: None,
        }
    }

    /// A member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A header of its own.
    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
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
        for (name, value) in required.iter().cloned().chain(self.header) {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
