//! Hubs for the load drills, and what is asked of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Result,
    drill::Bench,
    http::Http,
    hub::{Hub, Plan},
};

/// Some hubs of one space, without the workload's publishers and clients.
pub(crate) async fn start(bench: &Bench, space: &str, count: usize) -> Result<Vec<Hub>> {
    let mut hubs = Vec::new();
    for number in 0..count {
        hubs.push(Hub::start(plan(bench, space, number)).await?);
    }
    Ok(hubs)
}

/// How one of them is started.
pub(crate) fn plan(bench: &Bench, space: &str, number: usize) -> Plan {
    Plan {
        program: bench.hubplane.clone(),
        wrapper: Vec::new(),
        address: bench.backend.address(space),
        node: format!("hub-{number}"),
        options: Vec::new(),
        environment: bench.environment.clone(),
        log: bench.directory.join(format!("hub-{number}.log")),
    }
}

/// Publishes a batch; all of it must be taken.
pub(crate) async fn publish(http: &mut Http, messages: &[Value]) -> Result<()> {
    let body = json!({ "messages": messages }).to_string();
    match http.post("/v1/publish", &body).await {
        Ok((200, answer)) if !answer.contains("error") => Ok(()),
        other => Err(format!("publishing: {other:?}").into()),
    }
}

/// A sorted list's value at a share.
pub(crate) fn at(sorted: &[Duration], share: f64) -> Duration {
    // Without values, zero; the share 1 is the last one.
    let index = (sorted.len() as f64 * share) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// Milliseconds, with three places.
pub(crate) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
