//! `GET /v1/channels/{channel}/history`: a channel's past, a page at a time. `docs/protocol.md`
//! describes the request and the answer.
//!
//! Which messages there are is decided by the hub (`Hub::past`). This file checks the request,
//! limits how many pages are read at once, and writes the answer.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use hubplane_backplane::{Channel, ErrorKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task;
use warp::{Reply, reply::Response};

use super::{context::Context, problem::Problem};
use hubplane_hub::{Action, ClientPosition, HistoryPage, channel};
use hubplane_protocol::json as native;

/// Messages of a page if the request has no `limit`.
const PAGE: usize = 100;

/// The request's query: `after` is the position of the previous page's end, `limit` the most
/// messages to return.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    after: Option<String>,
    limit: Option<usize>,
}

/// Answers with a page of the channel `name`, which is percent-encoded as it stands in the path.
///
/// The answer is a problem document if there is no page: 400 for a bad channel, `after` or `limit`;
/// 401 and 403 as [`Context::may_read`] says; 410 if the position is lost; 501 if the broker keeps
/// no log; 503 if the log can't be read now, or if `history_requests` pages are being read already.
pub(super) async fn read(
    context: &Context,
    headers: &HeaderMap,
    name: &str,
    query: Query,
) -> Response {
    let done = async {
        let channel = channel(context, headers, name, Action::History)?;
        let after = query
            .after
            .map(|text| text.parse::<ClientPosition>())
            .transpose();
        let after = after.map_err(|error| bad(format!("after: {error}")))?;
        let most = context.hub.limits().recovery_messages;
        let limit = query.limit.unwrap_or(PAGE.min(most));
        if limit == 0 || limit > most {
            return Err(bad(format!("limit is 1 to {most}")));
        }
        // A page may hold `history_bytes` of data in memory, so the number of pages that are read
        // at once is limited. The client is told to try again; a queue would only keep more
        // requests in memory.
        let Ok(place) = Arc::clone(&context.history).try_acquire_owned() else {
            let detail = "too many pages of history are being read; try again";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        };
        let read = context.hub.past(&channel, after, limit).await;
        let read = read.map_err(|error| problem(error.kind(), error.message()))?;
        // Writing a page takes milliseconds, which the shard's other clients would wait for.
        let written = task::spawn_blocking(move || page(&channel, &read)).await;
        drop(place);
        written.map_err(|_panicked| {
            let detail = "the page can't be written";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })
    };
    done.await.unwrap_or_else(Problem::into_response)
}

/// Returns the channel that a request names, percent-decoded and checked.
///
/// # Errors
/// 400: the name is not UTF-8 or not allowed. 401 and 403: the request may not do `action` on the
/// channel.
pub(super) fn channel(
    context: &Context,
    headers: &HeaderMap,
    name: &str,
    action: Action,
) -> Result<Channel, Problem> {
    let name = percent_encoding::percent_decode_str(name)
        .decode_utf8()
        .map_err(|_not_text| bad("the channel's name is not UTF-8".to_owned()))?;
    channel::check(&name).map_err(|wrong| bad(wrong.to_string()))?;
    context.may_read(headers, action, &name)?;
    Ok(Channel::from(&*name))
}

/// Returns the problem of a request that can't be understood.
fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Returns the problem for an error of the hub. The broker's own words don't appear in the answer
/// to an unknown error: they may contain its address.
fn problem(kind: ErrorKind, message: &str) -> Problem {
    match kind {
        ErrorKind::Rejected => Problem::new(StatusCode::NOT_IMPLEMENTED, message),
        ErrorKind::PositionLost => {
            let detail = "the log no longer reaches back to this position, or is another one; read without `after`";
            Problem::new(StatusCode::GONE, detail).with("code", "position_lost")
        }
        _ => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker's log can't be read now; retry later",
        ),
    }
}

/// Writes a page as the answer's body. Takes milliseconds for a full page, so it runs off the
/// shard's thread.
fn page(channel: &str, stretch: &HistoryPage) -> Response {
    let text = |position: Option<ClientPosition>| position.map(|position| position.to_string());
    let messages = stretch.messages.iter().map(|message| {
        let mut data = Vec::new();
        // The same bytes as in a WebSocket message: JSON as it was published, other data as a
        // string or as Base64.
        native::data(&message.data, &mut data);
        let data = String::from_utf8(data).unwrap_or_default();
        let data = RawValue::from_string(data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Message {
            data,
            position: text(message.position),
            id: message.id.as_deref(),
        }
    });
    let messages: Vec<_> = messages.collect();
    let body = Page {
        channel,
        messages,
        position: text(stretch.upto),
        more: stretch.more,
    };
    warp::reply::json(&body).into_response()
}

/// The body of the answer.
/// One message of a page. `data` is JSON already and is copied into the body as it is.
#[derive(serde::Serialize)]
struct Page<'a> {
    channel: &'a str,
    messages: Vec<Message<'a>>,
    position: Option<String>,
    more: bool,
}

#[derive(serde::Serialize)]
struct Message<'a> {
    data: Box<RawValue>,
    position: Option<String>,
    id: Option<&'a str>,
}
