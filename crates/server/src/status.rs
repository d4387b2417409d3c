//! What an operator, a load balancer or a monitoring system asks.

use http::{HeaderMap, StatusCode};
use hubplane_hub::{Action, Health};
use serde_json::json;
use warp::{Reply, reply::Response};

use super::{api::with_key, context::Context, metrics, problem::Problem};

/// `GET /v1/backplane`.
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

/// A reason may name the broker's address: that is for those alone who may publish.
fn told(context: &Context, headers: &HeaderMap, reason: String) -> String {
    let grant = context.access.grant_of(headers);
    match grant.is_ok_and(|grant| grant.allows(Action::Operate, "")) {
        true => reason,
        false => "not ready; ask with the hub's key, or look at its log, for the reason".to_owned(),
    }
}

/// `GET /live`: the process answers.
pub(super) fn live() -> Response {
    warp::reply::json(&json!({ "status": "live" })).into_response()
}

/// `GET /ready`: whether a load balancer should send clients here.
pub(super) fn ready(context: &Context, headers: &HeaderMap) -> Response {
    match context.hub.health() {
        Health::Up => warp::reply::json(&json!({ "status": "ready" })).into_response(),
        Health::Down(reason) => {
            let detail = told(context, headers, reason);
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

/// `GET /metrics`, for Prometheus.
pub(super) fn metrics(context: &Context, headers: &HeaderMap) -> Response {
    match with_key(context, headers) {
        Ok(_) => metrics::text(&context.hub).into_response(),
        Err(problem) => problem.into_response(),
    }
}
