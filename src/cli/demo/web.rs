//! Defines the demo's routes: those of the page and of what it asks of the demo itself, and those of each instance.
//!
//! How instances are started and stopped, and what a job does, is not known here.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use warp::{Filter, Reply, filters::BoxedFilter, reply};

use super::{
    front::Front,
    jobs::{Book, Refused, Worker},
};
use hubplane_identity::Access;
use hubplane_server::{Mounts, Problem, Shards, embedded};

/// The demo's page, part of the program so that the demo needs no other file.
const PAGE: &str = include_str!("page.html");
/// The most bytes of a request that starts a job.
/// Such a body is one short name.
const BODY_BYTES: u64 = 1_024;

/// The body of a request that starts a job.
#[derive(Deserialize)]
struct Start {
    job: String,
}

/// The query that asks which instance serves a client.
#[derive(Deserialize)]
struct Where {
    client: String,
}

/// Returns an instance's routes: the hub's own and the service's, as in an application that embeds the hub.
///
/// The hub's routes come first, so that a service can't hide one of them by mistake.
pub(super) fn instance_routes(
    shards: &Shards,
    access: &Arc<Access>,
    worker: &Arc<Worker>,
) -> BoxedFilter<(reply::Response,)> {
    let worker = Arc::clone(worker);
    let jobs = warp::path!("jobs")
        .and(warp::post())
        // Refused by its length before it is read.
        .and(warp::body::content_length_limit(BODY_BYTES))
        .and(warp::body::json())
        .map(move |start: Start| begin(&worker, &start.job));
    embedded(shards, access, &Mounts::default())
        .or(jobs)
        .unify()
        .boxed()
}

/// Starts a job and answers 202 at once: its progress arrives as messages, not in this answer.
///
/// The answer names the instance, so that the page can show who works.
fn begin(worker: &Arc<Worker>, job: &str) -> reply::Response {
    let problem = match worker.begin(job) {
        // 202 Accepted (RFC 9110, section 15.3.3): begun, and not done.
        Ok(()) => {
            let begun = json!({ "job": job, "worker": worker.name() });
            return reply::with_status(reply::json(&begun), StatusCode::ACCEPTED).into_response();
        }
        Err(Refused::Name) => {
            let detail = "a job's name is new, and has at most 32 letters, digits and hyphens";
            Problem::new(StatusCode::BAD_REQUEST, detail)
        }
        // 503, so that the page tries again and meets another instance.
        Err(Refused::Busy) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this instance takes no more jobs now",
        ),
    };
    problem.into_response()
}

/// Returns the routes of the page, and of what it asks of the demo.
pub(super) fn page_routes(
    front: &Arc<Front>,
    book: &Arc<Book>,
    backplane: String,
) -> BoxedFilter<(reply::Response,)> {
    let page = page();
    // The page is built once; a clone is cheap, as its text is part of the program.
    let page = warp::path::end().and(warp::get()).map(move || page.clone());
    let page = page.map(Reply::into_response);

    let (of, book) = (Arc::clone(front), Arc::clone(book));
    let state = warp::path!("demo" / "state")
        .and(warp::get())
        .map(move || fresh(&state(&of, &backplane)));
    let of = Arc::clone(front);
    let place = warp::path!("demo" / "where")
        .and(warp::get())
        .and(warp::query())
        .map(move |query: Where| fresh(&json!({ "instance": of.instance_of(&query.client) })));
    // `null` if the book does not have it, and not 404: the page asks before it knows.
    let job = warp::path!("demo" / "jobs" / String)
        .and(warp::get())
        .map(move |job: String| fresh(&json!(book.state_of(&job))));
    let of = Arc::clone(front);
    let switch = warp::path!("demo" / "instances" / String / String)
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .map(move |name: String, action: String, headers| switch(&of, &name, &action, &headers));
    // `unify` after each `or`: all routes answer with the same type.
    let read = page.or(state).unify().or(place).unify();
    read.or(job).unify().or(switch).unify().boxed()
}

/// Answers with JSON that no cache may keep: it changes from moment to moment.
fn fresh(value: &Value) -> reply::Response {
    reply::with_header(reply::json(value), header::CACHE_CONTROL, "no-store").into_response()
}

/// Returns what the page shows of the demo, as JSON.
fn state(front: &Front, backplane: &str) -> Value {
    let instances = front.instances().iter();
    let instances: Vec<_> = instances.map(|instance| instance.status()).collect();
    json!({ "version": env!("CARGO_PKG_VERSION"), "backplane": backplane, "instances": instances })
}

/// Stops or starts an instance. Answers at once; the page sees in the state how it goes on. Foreign pages are refused.
fn switch(front: &Arc<Front>, name: &str, action: &str, headers: &HeaderMap) -> reply::Response {
    // A page of another origin could otherwise stop instances through the visitor's browser
    // (cross-site request forgery).
    if !Access::default().origin_is_allowed(headers) {
        let detail = "pages of this origin may not stop instances";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let mut names = front.instances().iter().map(|instance| instance.name());
    // A name or an action that does not exist, without saying which.
    let (Some(index), "stop" | "start") = (names.position(|known| known == name), action) else {
        return Problem::new(StatusCode::NOT_FOUND, "there is no such instance or action")
            .into_response();
    };
    let (front, stop) = (Arc::clone(front), action == "stop");
    // In the background: stopping takes seconds, and the page need not wait.
    tokio::spawn(async move {
        let instance = &front.instances()[index];
        if stop {
            instance.stop().await;
        } else if let Err(failure) = instance.start().await {
            tracing::warn!(instance = instance.name(), reason = %failure.message, "did not start");
        }
    });
    StatusCode::ACCEPTED.into_response()
}

/// Returns the page. Its policy lets only its own script and style run, by their digests, and loads nothing from elsewhere.
///
/// Digests in a policy: CSP Level 3, `hash-source`.
fn page() -> Response<&'static str> {
    let (style, script) = (inside("style"), inside("script"));
    // No other page may frame this one, or clicks could be led to its buttons.
    let policy = format!(
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'",
        STANDARD.encode(Sha256::digest(style)),
        STANDARD.encode(Sha256::digest(script)),
    );
    Response::builder()
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::CACHE_CONTROL, "no-store")
        .body(PAGE)
        .expect("invariant: these are a response's headers")
}

/// Returns what is inside the page's first element of this name.
///
/// Empty if there is none; the policy then allows nothing, which shows at once in a browser.
fn inside(element: &str) -> &'static str {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let (_, rest) = PAGE.split_once(&start).unwrap_or_default();
    rest.split_once(&end).unwrap_or_default().0
}
