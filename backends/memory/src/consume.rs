use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Event, EventSender, GapCause, Scope};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::log::{Log, Stretch};

/// Publications an event holds at most.
const BATCH: usize = 256;
/// How often a lane that moved is reported.
const PROGRESS: Duration = Duration::from_secs(1);

/// Carries the log to one instance, from `start`, until it is closed or its events are no longer taken. Waits for the
/// instance as long as it takes; whoever falls behind the log's oldest message gets a gap.
pub(crate) async fn pump(
    log: Arc<Log>,
    start: u64,
    events: EventSender,
    mut closed: watch::Receiver<bool>,
) {
    // An error means that the instance was dropped, which is as good as closed.
    let stop = async move { drop(closed.wait_for(|closed| *closed).await) };
    tokio::select! {
        biased;
        () = stop => {}
        () = events.closed() => {}
        () = carry(&log, start, &events) => {}
    }
}

/// Ends only when the events are no longer taken, or the log is gone.
async fn carry(log: &Log, start: u64, events: &EventSender) {
    let mut ends = log.ends();
    // What came between `start` and here is looked at without another publication having to come.
    ends.mark_changed();
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

/// Announces what is gone, and where the rest begins; `false` when nobody listens.
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
