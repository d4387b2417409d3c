//! Why an endpoint did not decide, and what that means for clients.
//!
//! What must hold: an error shows no path, query, secret, header or body. The server decides what a
//! client is told; this file must not know it.

use std::{fmt, time::Duration};

/// Why there is no decision. Nothing is allowed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was asked and failed; the sentence says how.
    Failed(String),
    /// It failed so often that it is not asked for a while.
    Paused,
    /// As many questions wait as the settings `queue` and `queue_bytes` allow.
    Busy,
    /// The settings name no URL for such a question. Ask [`Endpoint::asks`](super::Endpoint::asks) first.
    NotAsked,
}

/// An endpoint did not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    /// Why.
    pub failure: Failure,
    /// After which time it is worth asking again.
    pub retry_after: Duration,
    /// True if a session that is there goes on, though its permission could not be renewed (`open = "keep"`).
    pub sessions_go_on: bool,
    /// Scheme, host and port of the endpoint.
    pub(super) origin: String,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the endpoint {}: ", self.origin)?;
        match &self.failure {
            Failure::Failed(how) => f.write_str(how),
            Failure::Paused => {
                f.write_str("it failed too often and is not asked for now (failures, pause)")
            }
            Failure::Busy => f.write_str("too many questions wait for it (queue, queue_bytes)"),
            Failure::NotAsked => f.write_str("the settings name no URL for this question"),
        }
    }
}

impl std::error::Error for EndpointError {}
