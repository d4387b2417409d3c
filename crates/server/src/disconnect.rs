//! `GET /v1/users/{user}/connections`: which sessions a user has; and `POST /v1/disconnect`: ends somebody's sessions on all hubs, and refuses a token from then on.
//!
//! Which sessions these are and how the order travels is the hub's business. Asking needs a key
//! that may operate the hub.

use std::{sync::Arc, time::Duration};

use bytes::Buf;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use hubplane_hub::{
    Action,
    disconnect::{MOST_TEXT, REFUSED_FOR, Whose},
};
use hubplane_protocol::Object;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use warp::{Reply, reply::Response};

use super::{api, context::Context, problem::Problem};

/// The longest reason in bytes: what fits into a close frame (RFC 6455, 5.5) beside its code.
const MOST_REASON: usize = 123;
/// What a client is told if the request gives no reason.
const REASON: &str = "ended by an operator; do not connect again";

/// The request's body. One of `user`, `client` and `token_id` is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    user: Option<Arc<str>>,
    #[serde(default)]
    client: Option<Arc<str>>,
    #[serde(default)]
    token_id: Option<Arc<str>>,
    #[serde(default)]
    reason: Option<String>,
    /// For how many seconds a token is refused; by default a day.
    #[serde(default)]
    refused_for: Option<u64>,
}

/// Answers with the sessions of a user on all hubs that answer in time.
///
/// # Errors
/// 400: the name is not UTF-8, or too long. 401, 403: see [`Context::grant_for`]. 503: the broker did
/// not take the question.
pub(super) async fn connections(
    context: &Context,
    headers: &HeaderMap,
    user: &str,
) -> Result<Response, Problem> {
    context.grant_for(headers, Action::Operate)?;
    let user = percent_decode_str(user).decode_utf8();
    let user = user.ok().filter(|user| user.len() <= MOST_TEXT);
    let Some(user) = user else {
        let detail = format!("a user's name is UTF-8 of at most {MOST_TEXT} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    };
    let found = context.hub.connections_of(&user).await;
    let found = found.map_err(|error| {
        tracing::warn!(%error, "a question about connections was not published");
        let detail = "the broker did not take the question; try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("retryable", true)
    })?;
    let body = json!({ "user": user, "connections": found });
    Ok(warp::reply::json(&body).into_response())
}

/// Publishes the order, and answers 202 once the broker has it: each hub carries it out when it
/// comes there.
///
/// # Errors
/// 400: not exactly one name, or a text that is too long. 401, 403: see [`Context::grant_for`]. 503:
/// the broker did not take the order.
pub(super) async fn post<B: Buf>(
    context: &Context,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, Problem> {
    context.grant_for(headers, Action::Operate)?;
    let body = api::body(context, body).await?;
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Object(request): Object<Request> = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("give one of user, client and token_id: {error}")))?;
    let whose = match (request.user, request.client, request.token_id) {
        (Some(user), None, None) => Whose::User(user),
        (None, Some(client), None) => Whose::Client(client),
        (None, None, Some(id)) => Whose::TokenId(id),
        _ => return Err(bad("give exactly one of user, client and token_id".into())),
    };
    let reason = request.reason.as_deref().unwrap_or(REASON);
    let text = whose.text();
    if text.is_empty() || text.len() > MOST_TEXT || reason.len() > MOST_REASON {
        let detail =
            format!("a name has 1 to {MOST_TEXT} bytes, and a reason at most {MOST_REASON}");
        return Err(bad(detail));
    }
    let refused_for = request.refused_for.map_or(REFUSED_FOR, Duration::from_secs);
    let sent = context.hub.disconnect(whose, reason, refused_for).await;
    sent.map_err(|error| {
        tracing::warn!(%error, "an order to disconnect was not published");
        let detail = "the broker did not take the order; try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("retryable", true)
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}
