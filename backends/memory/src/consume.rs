//! Carries the log to the events of one instance. Each instance has its own task and its own place, so that a slow one
//! holds up neither publishers nor other instances.

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Event, EventSender, GapCause, Scope};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::log::{Log, Stretch};

/// Publications in one event at most.
const BATCH: usize = 256;
/// How often `Progress` is sent while the log moves, as the contract asks.
const PROGRESS: Duration = Duration::from_secs(1);

/// Carries the log to one instance, from `start`, until it is closed or its events are no longer taken. Waits for the
/// instance as long as it takes; an instance that falls behind the oldest message of the log gets a gap.
pub(crate) async fn pump(
    log: Arc<Log>,
    start: u64,
    events: EventSender,
    mut closed: watch::Receiver<bool>,
) {
    // An error means that the instance was dropped, which is as good as closed.
    let stop = async move { drop(closed.wait_for(|closed| *closed).await) };
    tokio::select! {
        // Closing comes first, so that it ends the task even while the events are taken quickly.
        biased;
        () = stop => {}
        () = events.closed() => {}
        () = carry(&log, start, &events) => {}
    }
}

/// Ends only if nobody takes the events any more, or if the log is gone.
async fn carry(log: &Log, start: u64, events: &EventSender) {
    let mut ends = log.ends();
    // What came between `start` and here is looked at without another publication having to come.
    ends.mark_changed();
    // Everything up to `seen` was given out; `reported` is the last place that a `Progress` named.
    let mut seen = start;
    let mut reported = start;
    let mut tick = interval(PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    loop {
        tokio::select! {
            changed = ends.changed() => if changed.is_err() { return },
            _ = tick.tick(), if reported < seen => {
                reported = seen;
                if events.send(Event::Progress(log.position(seen))).await.is_err() {
                    return;
                }
            }
        }
        // Several batches may have come since the last wake-up: go on until the end of the log.
        loop {
            let stretch = log.look(seen, None, BATCH);
            if stretch.trimmed && !tell_gap(log, events, &stretch).await {
                return;
            }
            let at_end = stretch.at_end;
            seen = stretch.upto;
            if !stretch.publications.is_empty()
                && events
                    .send(Event::Published(stretch.publications))
                    .await
                    .is_err()
            {
                return;
            }
            if at_end {
                break;
            }
        }
    }
}

/// Announces that messages are gone, and then, by a `Progress`, where the rest begins. Returns false if nobody takes the
/// events any more.
async fn tell_gap(log: &Log, events: &EventSender, stretch: &Stretch) -> bool {
    let scope = Scope::Lane(0);
    let resumed = stretch.upto - stretch.publications.len() as u64;
    events
        .send(Event::Gap {
            scope,
            cause: GapCause::Trimmed,
        })
        .await
        .is_ok()
        && events
            .send(Event::Progress(log.position(resumed)))
            .await
            .is_ok()
}
