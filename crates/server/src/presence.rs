//! `GET /v1/channels/{channel}/presence`: who is on a channel, as this hub knows it at this moment.
//!
//! The answer is written by the native protocol (`hubplane_protocol::json::members`), so it looks
//! like the answer to a session's `presence` command.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use warp::{Reply, reply::Response};

use super::{context::Context, history, problem::Problem};
use hubplane_hub::Action;
use hubplane_protocol::json as native;

/// Members of an answer if the request has no `limit`.
const PAGE: usize = 100;

/// The request's query. A `limit` of 0 asks for the count alone.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    limit: Option<usize>,
}

/// Answers with up to `limit` members of the channel `name`, which is percent-encoded as it stands
/// in the path.
///
/// # Errors
/// 400: a bad channel, or a `limit` above `presence_page`. 401, 403: see [`Context::may_read`].
pub(super) fn read(
    context: &Context,
    headers: &HeaderMap,
    name: &str,
    query: &Query,
) -> Result<Response, Problem> {
    let channel = history::channel(context, headers, name, Action::Presence)?;
    let most = context.hub.limits().presence_page;
    let limit = query.limit.unwrap_or(PAGE.min(most));
    if limit > most {
        let detail = format!("limit is 0 to {most}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let mut body = Vec::new();
    let roster = context.hub.members(&channel, limit);
    native::members(&channel, &roster, &mut body);
    let json = warp::reply::with_header(body, header::CONTENT_TYPE, "application/json");
    Ok(json.into_response())
}
