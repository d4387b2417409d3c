//! What an operator, a load balancer or a monitoring system asks: the hub's state, `/live`,
//! `/ready` and `/metrics`.
//!
//! These answers must come at once and must not ask the broker: a load balancer asks when things go
//! badly. The hub's beacons tell whether the broker works (`Hub::health`).

use http::{HeaderMap, StatusCode};
use hubplane_hub::{Action, Health};
use serde_json::json;
use warp::{Reply, reply::Response};

use super::{context::Context, metrics, problem::Problem};

/// `GET /v1/backplane`: the node's name, the driver, its state and capabilities. Anybody may ask.
pub(super) fn backplane(context: &Context, headers: &HeaderMap) -> Response {
    let hub = &context.hub;
    let (state, reason) = match hub.health() {
        Health::Up => ("up", None),
        Health::Down(reason) => ("down", Some(told(context, headers, reason))),
    };
    let body = json!({
        "node": hub.node(), "driver": hub.driver(), "state": state, "reason": reason,
        "capabilities": hub.capabilities(),
    });
    warp::reply::json(&body).into_response()
}

/// Returns the reason why the hub is not ready, for those who may operate it. Others get a sentence
/// without it, since a reason may contain the broker's address.
fn told(context: &Context, headers: &HeaderMap, reason: String) -> String {
    let grant = context.access.grant_of(headers);
    match grant.is_ok_and(|grant| grant.allows(Action::Operate, "")) {
        true => reason,
        false => "not ready; ask with the hub's key, or look at its log, for the reason".to_owned(),
    }
}

/// `GET /live`: the process answers. It is 200 also while the broker is away, because starting the
/// process again would not bring the broker back.
pub(super) fn live() -> Response {
    warp::reply::json(&json!({ "status": "live" })).into_response()
}

/// `GET /ready`: 200 if a load balancer should send clients here, else 503 with the reason.
pub(super) fn ready(context: &Context, headers: &HeaderMap) -> Response {
    match context.hub.health() {
        Health::Up => warp::reply::json(&json!({ "status": "ready" })).into_response(),
        Health::Down(reason) => {
            let detail = told(context, headers, reason);
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

/// `GET /metrics`, for Prometheus. Needs a key that allows it, if the hub has one: the counts are
/// not for everybody.
pub(super) fn metrics(context: &Context, headers: &HeaderMap) -> Response {
    match context.grant_for(headers, Action::Metrics) {
        Ok(_) => metrics::text(&context.hub, context.handshakes.count()).into_response(),
        Err(problem) => problem.into_response(),
    }
}
