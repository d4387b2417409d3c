//! Every route of the server, and the answer to a request that no route takes.
//!
//! This file only connects paths to functions. What must hold of every request (one `Host`, its
//! method, its origin) is checked in `guard.rs` before a route sees it, and the paths of client
//! formats come from `mounts.rs`.

use std::{convert::Infallible, future::ready, sync::Arc};

use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;
use warp::{Filter, Rejection, Reply, filters::BoxedFilter, path::FullPath, reply::Response};

use super::{
    api,
    context::{Context, Target},
    disconnect, guard,
    handoff::Shards,
    history,
    limiter::Peer,
    mounts::{Mount, Mounts, Routes},
    presence,
    problem::Problem,
    status, upgrade,
};
use hubplane_identity::Access;

/// Returns all routes for a server that embeds the hub: `/ws` and the paths of other mounts,
/// `/v1/…`, `/live`, `/ready` and `/metrics`. A request for any other path is rejected (not found),
/// so the caller can combine the routes with its own by `or`.
pub fn embedded(shards: &Shards, access: &Arc<Access>, mounts: &Mounts) -> Routes {
    let context = Context::embedded(shards.clone(), Arc::clone(access));
    guard::embedded(&context, mounts, paths(context.clone(), mounts))
}

/// Returns the hub's own server: all routes, and a problem document for everything else. It is made
/// once for each shard, with a context that sends new sessions to that shard.
pub(super) fn routes(
    context: Context,
    mounts: &Mounts,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    paths(context, mounts).recover(refusal).unify()
}

/// Returns all routes without the answer to unknown paths. A mount's own routes come last, so they
/// can't take the place of one of the hub's.
fn paths(context: Context, mounts: &Mounts) -> BoxedFilter<(Response,)> {
    let (own, mounts) = (mounts.routes(&context), mounts.clone());
    // The guard has put there where the request comes from.
    let with = warp::ext::optional::<Peer>().map(move |peer| Context {
        peer,
        ..context.clone()
    });
    // The table decides whether a path is a WebSocket, so this route matches on the full path and
    // rejects what the table does not have.
    let websocket = warp::get()
        .and(warp::path::full())
        .and_then(move |path: FullPath| {
            let mount = mounts.websocket_at(path.as_str()).copied();
            ready(mount.ok_or_else(warp::reject::not_found))
        })
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .and(warp::query::<Vec<(String, String)>>())
        // hyper leaves this in the request if the connection can be upgraded.
        .and(warp::ext::optional::<OnUpgrade>())
        .then(|mount, context, headers, query, upgrade| async move {
            websocket(&mount, context, &headers, query, upgrade).await
        });
    // The body is taken as a stream: its size and time are limited while it is read.
    let publish = warp::path!("v1" / "publish")
        .and(warp::post())
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|context: Context, headers, body| async move {
            api::publish(&context, &headers, body).await
        });
    let disconnect = warp::path!("v1" / "disconnect")
        .and(warp::post())
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|context: Context, headers, body| async move {
            let done = disconnect::post(&context, &headers, body).await;
            done.unwrap_or_else(Problem::into_response)
        });
    let connections = warp::path!("v1" / "users" / String / "connections")
        .and(warp::get())
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .then(|user: String, context: Context, headers| async move {
            let found = disconnect::connections(&context, &headers, &user).await;
            found.unwrap_or_else(Problem::into_response)
        });
    let backplane = warp::path!("v1" / "backplane")
        .and(warp::get())
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .map(|context: Context, headers| status::backplane(&context, &headers));
    let channels = channels(with.clone());
    let live = warp::path!("live").and(warp::get()).map(status::live);
    let metrics = warp::path!("metrics")
        .and(warp::get())
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .map(|context: Context, headers| status::metrics(&context, &headers));
    let ready_route = warp::path!("ready")
        .and(warp::get())
        .and(with)
        .and(warp::header::headers_cloned())
        .map(|context: Context, headers| status::ready(&context, &headers));
    let hub = websocket
        .or(publish)
        .unify()
        .or(disconnect)
        .unify()
        .or(connections)
        .unify()
        .or(backplane)
        .unify()
        .or(channels)
        .unify()
        .or(live)
        .unify()
        .or(metrics)
        .unify()
        .or(ready_route)
        .unify()
        // Boxed, since the loop below combines it with any number of routes and needs one type for
        // all.
        .boxed();
    own.into_iter()
        .fold(hub, |all, more| all.or(more).unify().boxed())
}

/// Returns the routes below `/v1/channels/{channel}`. The channel is still percent-encoded there,
/// so a name with a slash in it is one segment of the path.
fn channels(
    with: impl Filter<Extract = (Context,), Error = Infallible> + Clone + Send + Sync + 'static,
) -> BoxedFilter<(Response,)> {
    let history = warp::path!("v1" / "channels" / String / "history")
        .and(warp::get())
        .and(with.clone())
        .and(warp::header::headers_cloned())
        .and(warp::query::<history::Query>())
        .then(
            |channel: String, context: Context, headers, query| async move {
                history::read(&context, &headers, &channel, query).await
            },
        );
    let presence = warp::path!("v1" / "channels" / String / "presence")
        .and(warp::get())
        .and(with)
        .and(warp::header::headers_cloned())
        .and(warp::query::<presence::Query>())
        .map(|channel: String, context: Context, headers, query| {
            presence::read(&context, &headers, &channel, &query)
                .unwrap_or_else(Problem::into_response)
        });
    history.or(presence).unify().boxed()
}

/// Answers a request for a WebSocket, and hands the connection to a shard once the answer is out.
/// `query` may name channels to subscribe to at once (`?channel=a&channel=b`).
async fn websocket(
    mount: &Mount,
    context: Context,
    headers: &HeaderMap,
    query: Vec<(String, String)>,
    upgrade: Option<OnUpgrade>,
) -> Response {
    let channels = query
        .into_iter()
        .filter(|(key, _)| key == "channel")
        .map(|(_, value)| value)
        .collect();
    let address = context.address();
    let checked = upgrade::check(headers, channels, (&context, address), mount).await;
    let handshake = match checked {
        Ok(handshake) => handshake,
        Err(problem) => return problem.into_response(),
    };
    let Some(upgrade) = upgrade else {
        let detail = "this connection can't become a WebSocket; use HTTP/1.1";
        return Problem::new(StatusCode::UPGRADE_REQUIRED, detail).into_response();
    };
    let response = upgrade::switch(&handshake);
    // hyper gives the raw socket away only after the answer is written, which happens after this
    // function has returned. So a task of its own waits for it.
    let wait = context.hub.limits().handshake_timeout;
    tokio::spawn(async move {
        let Some(handoff) = upgrade::handoff(upgrade, handshake.negotiated, wait).await else {
            return;
        };
        let given = match context.target {
            Target::Here(shard) => shard.send(handoff).await.is_ok(),
            Target::Any(shards) => shards.give(handoff).is_ok(),
        };
        if !given {
            tracing::debug!("a new WebSocket found no shard: the hub stops");
        }
    });
    response
}

/// Answers what no route has taken: 400 for a query that can't be read, else 404 with the paths
/// that there are.
async fn refusal(rejection: Rejection) -> Result<Response, Infallible> {
    let problem = if rejection.find::<warp::reject::InvalidQuery>().is_some() {
        Problem::new(StatusCode::BAD_REQUEST, "the query can't be read")
    } else {
        let detail = "there is /ws, /v1/publish, /v1/disconnect, /v1/users/{user}/connections, /v1/channels/{channel}/history and …/presence, /v1/backplane, /live, /ready and /metrics";
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    Ok(problem.into_response())
}
