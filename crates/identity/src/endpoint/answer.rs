//! What a backend answers. The protocol is described in [the module](super).
//!
//! What must hold: an answer that is not understood in full allows nothing; a misspelt `expires_in`
//! would be a permission without an end. Nothing of an answer is in an error. This file is pure.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{error::Category, value::RawValue};

use crate::{Permission, PermissionConfig};

/// The longest permission: a year. A longer one is cut.
pub const MAX_EXPIRY: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What a backend decided.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The client may do what it wants to do.
    Allowed(Allowed),
    /// It may not.
    Refused {
        /// A sentence for the client, if the backend has one for it.
        reason: Option<String>,
    },
}

/// What a client may do, and who it is.
#[derive(Clone, Default)]
pub struct Allowed {
    /// The user's name.
    pub user: Option<String>,
    /// What is allowed on which channels; `None` if the backend leaves that to the rules.
    pub permissions: Option<Box<[Permission]>>,
    /// What others see about the client where it is present, as JSON.
    pub info: Option<Box<RawValue>>,
    /// The channels to which the client is subscribed at once.
    pub channels: Vec<String>,
    /// For how long all of this holds; `None` without an end. At most [`MAX_EXPIRY`].
    pub expires_in: Option<Duration>,
}

/// Shows no `info`, which is the backend's own.
impl fmt::Debug for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowed")
            .field("user", &self.user)
            .field("permissions", &self.permissions)
            .field("channels", &self.channels)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// An answer's JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    allow: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    permissions: Option<Vec<PermissionConfig>>,
    #[serde(default)]
    info: Option<Box<RawValue>>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// A sentence about the answer that shows nothing of it.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Self, String> {
        match status {
            StatusCode::OK => Self::parse(body),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                // The status alone refuses; a body may say why.
                let json = serde_json::from_slice(body).ok();
                let reason = json.and_then(|json: Json| json.reason);
                Ok(Self::Refused { reason })
            }
            other => Err(format!("it answered with status {}", other.as_u16())),
        }
    }

    fn parse(body: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(body).map_err(|error| {
            let what = match error.classify() {
                Category::Data => "a part that this version does not know, or of the wrong type",
                _ => "no JSON",
            };
            format!(
                "its answer holds {what}, at line {} column {}",
                error.line(),
                error.column()
            )
        })?;
        if !json.allow {
            return Ok(Self::Refused {
                reason: json.reason,
            });
        }
        if json.user.as_deref() == Some("") {
            return Err("its answer holds an empty user".to_owned());
        }
        if json.expires_in == Some(0) {
            return Err("its answer holds an expires_in of 0".to_owned());
        }
        let permissions = json.permissions.map(|all| Permission::of_token(&all));
        // The error itself would show a part of the answer.
        let permissions = permissions.transpose().map_err(|_shown| {
            "its answer holds a permission with a wrong pattern or action, or too many of them"
                .to_owned()
        })?;
        Ok(Self::Allowed(Allowed {
            user: json.user,
            permissions,
            info: json.info,
            channels: json.channels,
            expires_in: json
                .expires_in
                .map(|seconds| Duration::from_secs(seconds).min(MAX_EXPIRY)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Answer, String> {
        Answer::read(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn an_answer_is_read_in_full() {
        let text = r#"{"allow":true,"user":"ann","permissions":[{"channels":["orders.*"],"allow":["subscribe"]}],
            "info":{"hidden": 1},"channels":["orders.7"],"expires_in":3600}"#;
        let Ok(Answer::Allowed(allowed)) = read(200, text) else {
            panic!("{text}")
        };
        assert_eq!(allowed.user.as_deref(), Some("ann"));
        let permission = PermissionConfig {
            channels: vec!["orders.*".to_owned()],
            allow: vec!["subscribe".to_owned()],
        };
        assert_eq!(
            allowed.permissions,
            Permission::of_token(&[permission]).ok()
        );
        assert_eq!(
            allowed.info.as_deref().map(RawValue::get),
            Some("{\"hidden\": 1}")
        );
        assert_eq!(allowed.channels, ["orders.7"]);
        assert_eq!(allowed.expires_in, Some(Duration::from_secs(3600)));
        assert!(!format!("{allowed:?}").contains("hidden"));

        let Ok(Answer::Allowed(least)) = read(200, r#"{"allow":true}"#) else {
            panic!("the least answer")
        };
        assert!(
            least.permissions.is_none() && least.channels.is_empty() && least.expires_in.is_none()
        );
        let forever = format!(r#"{{"allow":true,"expires_in":{}}}"#, u64::MAX);
        let Ok(Answer::Allowed(forever)) = read(200, &forever) else {
            panic!("a long time")
        };
        assert_eq!(forever.expires_in, Some(MAX_EXPIRY));
    }

    #[test]
    fn refusals_may_say_why() {
        let no = r#"{"allow":false,"reason":"closed"}"#;
        for (status, body, why) in [
            (200, no, Some("closed")),
            (200, r#"{"allow":false}"#, None),
            (401, no, Some("closed")),
            (403, "<html>", None),
            (403, r#"{"allow":true}"#, None),
        ] {
            let Ok(Answer::Refused { reason }) = read(status, body) else {
                panic!("{status} {body}")
            };
            assert_eq!(reason.as_deref(), why);
        }
    }

    #[test]
    fn what_is_not_understood_is_a_failure_and_not_shown() {
        for (status, body) in [
            (200, ""),
            (200, "<html>hidden"),
            (200, r#"{"allow":"hidden"}"#),
            (200, r#"{"user":"hidden"}"#),
            (200, r#"{"allow":true,"hidden":1}"#),
            (200, r#"{"allow":true,"user":""}"#),
            (200, r#"{"allow":true,"expires_in":0}"#),
            (200, r#"{"allow":true,"expires_in":-1}"#),
            (
                200,
                r#"{"allow":true,"permissions":[{"channels":["hidden"]}]}"#,
            ),
            (
                200,
                r#"{"allow":true,"permissions":[{"channels":["c"],"allow":["hidden"]}]}"#,
            ),
            (200, r#"{"allow":true} hidden"#),
            (200, r#"{"allow":true,"allow":true}"#),
            (204, r#"{"allow":true}"#),
            (302, r#"{"allow":true}"#),
            (404, r#"{"allow":true}"#),
            (500, r#"{"allow":true}"#),
        ] {
            let error = read(status, body).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
