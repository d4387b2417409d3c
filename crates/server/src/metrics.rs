//! What an instance has done, in the text format of Prometheus (exposition format 0.0.4).
//! `docs/operations.md` explains each series.
//!
//! No label's value comes from a client, so the number of series is fixed and nobody can make it
//! grow. The counts are kept by the hub; this file only writes them.

use std::{fmt::Write, sync::atomic::Ordering};

use hubplane_hub::{Health, Hub, LOOP_BUCKETS};

/// Returns all series of this instance. Counts are read one after another without a lock, so two of
/// them may differ by what happened in between. `handshakes` is how many TLS handshakes have failed.
pub(crate) fn text(hub: &Hub, handshakes: u64) -> String {
    let counts = hub.counts();
    let (bytes, messages) = hub.window_size();
    let up = u64::from(hub.health() == Health::Up);
    let sessions = hub.session_count().unsigned_abs();
    let mut text = String::new();
    // Gauges first: values that go up and down.
    let mut gauge = |name, help, value| put_one(&mut text, (name, "gauge", help), value);
    gauge("sessions", "WebSockets that are open", sessions);
    gauge(
        "backplane_up",
        "Whether messages arrive from the broker",
        up,
    );
    gauge(
        "window_bytes",
        "Bytes of recent messages in memory",
        bytes as u64,
    );
    gauge(
        "window_messages",
        "Recent messages in memory",
        messages as u64,
    );
    // Then the counters without a label. By Prometheus's convention, each name ends in `_total`.
    for (name, help, count) in [
        (
            "deliveries",
            "Messages queued to sessions",
            &counts.deliveries,
        ),
        ("writes", "Writes to sockets", &counts.writes),
        (
            "slow_sessions",
            "Sessions cut off for not reading",
            &counts.slow,
        ),
        ("panics", "Panics caught", &counts.panics),
        (
            "repeated",
            "Messages that came again and were not passed on",
            &counts.repeated,
        ),
        (
            "bad_ids",
            "Messages with an id that is none and was passed over",
            &counts.bad_ids,
        ),
        (
            "refilled",
            "Messages that did not arrive and were read from the log",
            &counts.refilled,
        ),
        (
            "history_reads",
            "Reads of the broker's log",
            &counts.history_reads,
        ),
        (
            "foreign_lane",
            "Messages in another lane than their channel's own",
            &counts.foreign_lane,
        ),
        (
            "publish_retries",
            "Messages published again because the broker had not taken them",
            &counts.retries,
        ),
    ] {
        let name = format!("{name}_total");
        put_one(
            &mut text,
            (&name, "counter", help),
            count.load(Ordering::Relaxed),
        );
    }
    let help = "TLS handshakes that failed";
    let name = "tls_handshakes_failed_total";
    put_one(&mut text, (name, "counter", help), handshakes);
    labelled(&mut text, hub);
    presence(&mut text, hub);
    loops(&mut text, hub);
    text
}

/// Writes a series without labels: its help, its type (`gauge` or `counter`) and its value.
fn put_one(text: &mut String, (name, kind, help): (&str, &str, &str), value: u64) {
    write!(
        text,
        "# HELP hubplane_{name} {help}\n# TYPE hubplane_{name} {kind}\nhubplane_{name} {value}\n"
    )
    .expect("invariant: a String takes everything");
}

/// Writes the series with a label: gaps by cause, refusals by limit, messages that were not sent by the rule that kept
/// them, and recoveries by where the missed messages came from.
fn labelled(text: &mut String, hub: &Hub) {
    let counts = hub.counts();
    put(
        text,
        "# HELP hubplane_gaps_total Gaps announced to subscriptions\n# TYPE hubplane_gaps_total counter\n",
    );
    for (cause, count) in counts.gaps() {
        put(
            text,
            &format!("hubplane_gaps_total{{cause=\"{cause}\"}} {count}\n"),
        );
    }
    put(
        text,
        "# HELP hubplane_limited_total What was refused because a limit is reached\n# TYPE hubplane_limited_total counter\n",
    );
    for (limit, count) in counts.limited() {
        let limit = limit.as_str();
        put(
            text,
            &format!("hubplane_limited_total{{limit=\"{limit}\"}} {count}\n"),
        );
    }
    put(
        text,
        "# HELP hubplane_skipped_total Messages not sent to a session that subscribes, by what kept them\n# TYPE hubplane_skipped_total counter\n",
    );
    for (rule, count) in [
        ("drop-oldest", &counts.dropped),
        ("latest", &counts.replaced),
        ("max_rate", &counts.thinned),
    ] {
        let count = count.load(Ordering::Relaxed);
        put(
            text,
            &format!("hubplane_skipped_total{{rule=\"{rule}\"}} {count}\n"),
        );
    }
    put(
        text,
        "# HELP hubplane_recoveries_total Subscriptions from a position, by where the rest came from\n# TYPE hubplane_recoveries_total counter\n",
    );
    for (from, count) in [
        ("window", &counts.from_window),
        ("history", &counts.from_history),
        ("nowhere", &counts.not_recovered),
    ] {
        let count = count.load(Ordering::Relaxed);
        put(
            text,
            &format!("hubplane_recoveries_total{{from=\"{from}\"}} {count}\n"),
        );
    }
}

/// Writes how many members of channels this instance knows of, and what it did not take in from
/// other instances.
fn presence(text: &mut String, hub: &Hub) {
    let (members, bad, dropped) = hub.presence_counts();
    let help = "Members of channels, on all instances";
    put_one(text, ("presence_members", "gauge", help), members as u64);
    put(
        text,
        &format!(
            "# HELP hubplane_presence_skipped_total Presence not taken in from other instances\n\
             # TYPE hubplane_presence_skipped_total counter\n\
             hubplane_presence_skipped_total{{reason=\"malformed\"}} {bad}\n\
             hubplane_presence_skipped_total{{reason=\"limit\"}} {dropped}\n"
        ),
    );
}

/// Writes the histogram of how long beacons take from this instance to the broker and back. Its
/// buckets are cumulative, as the format asks; `+Inf` holds all of them.
fn loops(text: &mut String, hub: &Hub) {
    let (buckets, count, seconds) = hub.counts().loops.read();
    put(
        text,
        "# HELP hubplane_loop_seconds From this instance to the broker and back\n# TYPE hubplane_loop_seconds histogram\n",
    );
    for (end, count) in LOOP_BUCKETS.iter().zip(buckets) {
        put(
            text,
            &format!("hubplane_loop_seconds_bucket{{le=\"{end}\"}} {count}\n"),
        );
    }
    put(
        text,
        &format!(
            "hubplane_loop_seconds_bucket{{le=\"+Inf\"}} {count}\nhubplane_loop_seconds_sum {seconds}\nhubplane_loop_seconds_count {count}\n"
        ),
    );
}

/// Writes lines that are finished already.
fn put(text: &mut String, more: &str) {
    text.push_str(more);
}
