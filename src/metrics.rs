//! What an instance has done, in the text format of Prometheus (exposition format 0.0.4). No label comes from a
//! client, so the number of series is fixed.

use std::{fmt::Write, sync::atomic::Ordering};

use crate::hub::{Health, Hub};

/// All series of this instance.
pub fn text(hub: &Hub) -> String {
    let counts = hub.counts();
    let up = hub.health() == Health::Up;
    let rows = [
        (
            "sessions",
            "gauge",
            "WebSockets that are open",
            hub.session_count().unsigned_abs(),
        ),
        (
            "backplane_up",
            "gauge",
            "Whether messages arrive from the broker",
            u64::from(up),
        ),
        (
            "deliveries_total",
            "counter",
            "Messages queued to sessions",
            counts.deliveries.load(Ordering::Relaxed),
        ),
        (
            "writes_total",
            "counter",
            "Writes to sockets",
            counts.writes.load(Ordering::Relaxed),
        ),
        (
            "gaps_total",
            "counter",
            "Gaps that the backplane announced",
            counts.gaps.load(Ordering::Relaxed),
        ),
        (
            "slow_sessions_total",
            "counter",
            "Sessions cut off for not reading",
            counts.slow.load(Ordering::Relaxed),
        ),
        (
            "panics_total",
            "counter",
            "Panics caught",
            counts.panics.load(Ordering::Relaxed),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        write!(text, "# HELP hubplane_{name} {help}\n# TYPE hubplane_{name} {kind}\nhubplane_{name} {value}\n")
            .expect("invariant: a String takes everything");
    }
    text
}
