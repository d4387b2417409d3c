//! The publisher's task: takes in jobs, keeps at most one batch of each lane at the backplane, and
//! lets beacons be due once in `beacon_interval`.
//!
//! All lanes run as futures of this one task, so none waits for another. The queue in front of it
//! is bounded by what may wait for answers, not by what is taken in here.

use std::{sync::Arc, time::Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    Job, Waiting,
    carrier::Carrier,
    jobs::Books,
    lanes::{BATCH, Lanes},
};
use crate::{Hub, sequencer::Sequencer};

/// The task's end of the publisher.
pub(crate) struct PublishLoop {
    queue: mpsc::Receiver<Job>,
    /// Carries batches out.
    carrier: Carrier,
    /// Decides what the next batches are.
    lanes: Lanes,
}

impl PublishLoop {
    pub(super) fn new(
        queue: mpsc::Receiver<Job>,
        waiting: Arc<Waiting>,
        sequencer: Sequencer,
    ) -> Self {
        Self {
            queue,
            carrier: Carrier::new(Books::new(sequencer), waiting),
            lanes: Lanes::default(),
        }
    }

    /// Publishes until the hub is gone. Whatever comes while a lane's batch is at the broker goes
    /// into the lane's next one, so batches grow by themselves under load.
    pub(crate) async fn run(self, hub: &Hub) {
        let Self {
            mut queue,
            carrier,
            mut lanes,
        } = self;
        let mut tick = interval(hub.limits().beacon_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The batches at the broker, at most one of each lane.
        let mut under_way = FuturesUnordered::new();
        let mut jobs = Vec::new();
        loop {
            tokio::select! {
                biased;
                // Beacons first: a stream of jobs must not keep them waiting.
                _ = tick.tick() => lanes.beacons_due(hub),
                () = hub.beacon_now().notified() => lanes.beacons_due(hub),
                Some(key) = under_way.next() => lanes.free(key),
                count = queue.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
            }
            // Whatever waits in the queue goes along with what is due now.
            while jobs.len() < BATCH {
                let Ok(job) = queue.try_recv() else {
                    break;
                };
                jobs.push(job);
            }
            // Read once for everything that starts in this turn.
            let now = Instant::now();
            let mut done = Vec::new();
            // Locked once for all that has come, and not across the awaits below.
            let mut rounds = Vec::new();
            {
                let mut books = carrier.books();
                // Before anything gets a number: it must be one of the lane where its name falls
                // now.
                lanes.follow(hub, &mut books);
                for job in jobs.drain(..) {
                    done.extend(lanes.take(hub, &mut books, job));
                }
                for key in lanes.ready() {
                    let (round, answered) = lanes.start(hub, &mut books, key, now);
                    done.extend(answered);
                    rounds.push((key, round));
                }
            }
            carrier.reply(hub, done).await;
            // Started only after the refused ones are answered; their futures are polled by the
            // next turn.
            for (key, round) in rounds {
                let carrier = &carrier;
                under_way.push(async move {
                    carrier.carry(hub, round).await;
                    key
                });
            }
        }
    }
}
