//! `GET /v1/channels/{channel}/history`: a channel's past, a page at a time.

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

/// Messages of a page where the request says nothing.
const PAGE: usize = 100;

/// The request's query.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    after: Option<String>,
    limit: Option<usize>,
}

/// Answers with a page, or says why there is none.
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

/// The channel that a request names, where it may be used so.
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

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

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

fn page(channel: &str, stretch: &HistoryPage) -> Response {
    let text = |position: Option<ClientPosition>| position.map(|position| position.to_string());
    let messages = stretch.messages.iter().map(|message| {
        let mut data = Vec::new();
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
