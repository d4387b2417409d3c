//! `POST /v1/publish`: one message or a batch, answered after the broker. `docs/protocol.md`
//! describes both.
//!
//! A batch is checked as a whole before anything of it is published. What a body makes the hub keep
//! while it arrives counts for `unfinished_bytes`, and its size and time have limits. How often a
//! publish is tried again is the hub's decision, not this file's.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use hubplane_backplane::{Error, ErrorKind, Outgoing};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::time::timeout;
use warp::{Reply, reply::Response};

use super::{channel_rules, context::Context, problem::Problem};
use hubplane_hub::{Action, ClientPosition, Grant, MAX_ID, Unproven, channel, is_id};
use hubplane_hub::{InboundBytes, Limits};
use hubplane_protocol::{Object, json as native};

/// How long the rest of a refused body is read.
const READ_ON: Duration = Duration::from_secs(2);
/// How many bytes of a refused body are read at most.
const READ_ON_BYTES: usize = 16 * 1024 * 1024;

/// The body of a request: either `channel` and `data`, or `messages`. [`requested`] refuses a
/// mixture.
/// One message of a batch. `data` stays the JSON text that the client sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow, default)]
    channel: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "native::present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Object<Message<'a>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    channel: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    id: Option<std::borrow::Cow<'a, str>>,
}

/// Answers a request after the broker has answered for each of its messages.
///
/// The answer is a problem document if nothing was published: 400, 401, 403, 408, 413 or 415 for
/// what is wrong with the request, 429 for what comes too often, and 503 if the hub or the broker can't take it now.
pub(super) async fn publish<B: Buf + Send + 'static>(
    context: &Context,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
) -> Response {
    let mut body = Box::pin(body);
    let mut room = Room {
        inbound: context.hub.inbound(),
        bytes: 0,
    };
    let done = async {
        let grant = admitted(context, headers)?;
        let body = read(&mut body, &mut room, context.hub.limits()).await?;
        let (mut messages, single) = requested(&body, context.hub.limits())?;
        allowed(&grant, &messages).await?;
        channel_rules::check(context, &grant, &messages)?;
        name(&mut messages, single, headers)?;
        messages.iter_mut().for_each(|message| grant.mark(message));
        let results = context
            .hub
            .publish(messages)
            .await
            .map_err(|_overloaded| overloaded())?;
        answered(results, single)
    };
    match done.await {
        Ok(response) => response,
        Err(problem) => {
            // The answer goes out at once; the rest of the body is read beside it.
            tokio::spawn(read_on(body));
            problem.into_response()
        }
    }
}

/// A body's share of `unfinished_bytes`, the limit of what all clients have begun to send. `Drop`
/// gives it back.
struct Room<'a> {
    inbound: &'a InboundBytes,
    bytes: usize,
}

impl Room<'_> {
    /// Takes `bytes` more, or returns 503 if they don't fit.
    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        if !self.inbound.take(bytes) {
            let detail =
                "too many unfinished bodies and messages; nothing of this was published, try again";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .with("retryable", true)
                .with("maybe_delivered", false));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.inbound.give_back(self.bytes);
    }
}

/// Reads what a client still sends of a refused body, for a bounded time. A client that sends all
/// of it before it reads would otherwise find its connection reset, and never see the answer.
async fn read_on<B: Buf>(mut body: impl Stream<Item = Result<B, warp::Error>> + Unpin) {
    let all = async {
        let mut bytes = 0;
        while let Some(Ok(part)) = body.next().await
            && bytes < READ_ON_BYTES
        {
            bytes += part.remaining();
        }
    };
    // One that takes longer has its connection reset.
    _ = timeout(READ_ON, all).await;
}

/// Reads the whole body of another small request into memory, within the same limits.
pub(super) async fn body<B: Buf>(
    context: &Context,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<BytesMut, Problem> {
    let mut room = Room {
        inbound: context.hub.inbound(),
        bytes: 0,
    };
    read(&mut Box::pin(body), &mut room, context.hub.limits()).await
}

/// Returns 403 with the message's `index` unless the grant allows to publish all messages.
/// Where the grant leaves it to somebody else, they are asked, one message after the other.
async fn allowed(grant: &Grant, messages: &[Outgoing]) -> Result<(), Problem> {
    for (index, message) in messages.iter().enumerate() {
        let (channel, data) = (&message.channel, &message.data);
        let refusal = match grant.question(Action::Publish, channel, data) {
            Some(question) => question.await.err().map(|Unproven(why)| why),
            None if grant.allows(Action::Publish, channel) => None,
            None => Some("this channel may not be published to".into()),
        };
        if let Some(detail) = refusal {
            let problem = Problem::new(StatusCode::FORBIDDEN, detail);
            return Err(problem.with("index", index));
        }
    }
    Ok(())
}

/// Checks what the head alone shows, before any of the body is read: key, origin, type and coding.
fn admitted(context: &Context, headers: &HeaderMap) -> Result<Grant, Problem> {
    let grant = context.grant_for(headers, Action::Publish)?;
    context.take_request(&grant)?;
    if !context.access.origin_is_allowed(headers) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of this origin may not publish",
        ));
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type is application/json",
        ));
    }
    let coding = headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bodies are taken uncompressed",
        ));
    }
    Ok(grant)
}

/// Gives an id to each message that has none, from the header `Idempotency-Key`
/// (draft-ietf-httpapi-idempotency-key-header). So a request that is tried again, here or at
/// another instance, reaches each client once.
fn name(messages: &mut [Outgoing], single: bool, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(());
    };
    // The draft puts it in quotes; most clients don't.
    let key = key.to_str().unwrap_or_default().trim_matches('"');
    // A batch adds a dot and an index of up to five digits; the id must still fit.
    let longest = MAX_ID - 6;
    if !is_id(key) || key.len() > longest {
        return Err(malformed(format!(
            "Idempotency-Key is 1 to {longest} bytes of printable ASCII without spaces"
        )));
    }
    for (index, message) in messages.iter_mut().enumerate() {
        message.id.get_or_insert_with(|| match single {
            true => key.into(),
            false => format!("{key}.{index}").into(),
        });
    }
    Ok(())
}

/// Reads the whole body into memory: at most `body_bytes`, within `body_timeout`.
async fn read<B: Buf>(
    body: &mut (impl Stream<Item = Result<B, warp::Error>> + Unpin),
    room: &mut Room<'_>,
    limits: &Limits,
) -> Result<BytesMut, Problem> {
    let all = async {
        let mut all = BytesMut::new();
        while let Some(part) = body.next().await {
            let mut part = part.map_err(|_broken| malformed("the body ended early"))?;
            if all.len() + part.remaining() > limits.body_bytes {
                let detail = format!("a body has at most {} bytes", limits.body_bytes);
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            room.take(part.remaining())?;
            while part.has_remaining() {
                let chunk = part.chunk();
                all.extend_from_slice(chunk);
                part.advance(chunk.len());
            }
        }
        Ok(all)
    };
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long");
    timeout(limits.body_timeout, all).await.map_err(late)?
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn overloaded() -> Problem {
    let detail =
        "too many publications wait for the broker; nothing of this was published, try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with("retryable", true)
        .with("maybe_delivered", false)
}

/// Returns the messages that a body asks to publish, and whether it is one message alone. One wrong
/// message refuses the whole batch, and `index` says which it is.
fn requested(body: &[u8], limits: &Limits) -> Result<(Vec<Outgoing>, bool), Problem> {
    let Object(request): Object<Request<'_>> = serde_json::from_slice(body).map_err(|error| {
        malformed(format!(
            "give {{\"channel\",\"data\"}} or {{\"messages\":[…]}}: {error}"
        ))
    })?;
    match request {
        Request {
            channel: Some(channel),
            data: Some(data),
            id,
            messages: None,
        } => Ok((
            vec![outgoing(&Message { channel, data, id }, limits)?],
            true,
        )),
        Request {
            channel: None,
            data: None,
            id: None,
            messages: Some(messages),
        } => {
            if messages.len() > limits.batch_messages {
                let detail = format!("a batch has at most {} messages", limits.batch_messages);
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            let all = messages.iter().enumerate().map(|(index, Object(message))| {
                outgoing(message, limits).map_err(|problem| problem.with("index", index))
            });
            Ok((all.collect::<Result<_, _>>()?, false))
        }
        _ => Err(malformed(
            "give {\"channel\",\"data\"} or {\"messages\":[…]}, not a mixture",
        )),
    }
}

/// Checks one message and makes what the hub publishes of it.
fn outgoing(message: &Message<'_>, limits: &Limits) -> Result<Outgoing, Problem> {
    channel::check(&message.channel).map_err(|bad| malformed(bad.to_string()))?;
    let data = message.data.get();
    if native::depth(data.as_bytes()) > native::MAX_DEPTH {
        let detail = format!("data nests deeper than {}", native::MAX_DEPTH);
        return Err(malformed(detail));
    }
    if data.len() > limits.message_bytes {
        let detail = format!(
            "a message's data has at most {} bytes",
            limits.message_bytes
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let mut outgoing = Outgoing::new(&*message.channel, data.as_bytes().to_vec());
    if let Some(id) = &message.id {
        if !is_id(id) {
            return Err(malformed(native::bad_id()));
        }
        outgoing.id = Some(id.as_ref().into());
    }
    Ok(outgoing)
}

/// The broker's answer for one message: its place in the log, where there is one.
type Answer = Result<Option<ClientPosition>, Error>;

/// Makes the answer: for one message its position, for a batch a list in the order of the messages.
/// A batch of which the broker took nothing is answered 503 as a whole.
fn answered(mut results: Vec<Answer>, single: bool) -> Result<Response, Problem> {
    if single {
        let result = results
            .pop()
            .unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, "hub", "it stops")));
        return match result {
            Ok(place) => Ok(warp::reply::json(&json!({ "position": text(place) })).into_response()),
            Err(error) => Err(problem(&error)),
        };
    }
    let failed =
        |result: &Answer| matches!(result, Err(error) if error.kind() != ErrorKind::Rejected);
    if !results.is_empty() && results.iter().all(failed) {
        let maybe = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .any(|error| error.kind() == ErrorKind::Unknown);
        return Err(unavailable(maybe));
    }
    let list: Vec<Value> = results
        .iter()
        .map(|result| match result {
            Ok(place) => json!({ "position": text(*place) }),
            Err(error) => {
                json!({ "error": error.kind().as_str(), "retryable": error.kind().is_retryable() })
            }
        })
        .collect();
    Ok(warp::reply::json(&list).into_response())
}

fn text(place: Option<ClientPosition>) -> Option<String> {
    place.map(|position| position.to_string())
}

/// Returns the problem for a single message that was not published.
fn problem(error: &Error) -> Problem {
    match error.kind() {
        ErrorKind::Rejected => malformed(error.message()),
        kind => unavailable(kind == ErrorKind::Unknown),
    }
}

/// Returns 503. `maybe_delivered` says whether the message may be on the broker all the same.
fn unavailable(maybe_delivered: bool) -> Problem {
    let detail = match maybe_delivered {
        true => {
            "the broker gave no answer in time; it may have the message: retry with the same id"
        }
        false => "the broker did not take it; retry later",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with("retryable", true)
        .with("maybe_delivered", maybe_delivered)
}
