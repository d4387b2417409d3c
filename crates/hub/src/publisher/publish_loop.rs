//! The publisher's task: takes in jobs, and keeps one round of each lane at the backplane; a beacon a second.

use std::sync::Arc;

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

/// The task's end: the line of jobs.
pub(crate) struct PublishLoop {
    queue: mpsc::Receiver<Job>,
    carrier: Carrier,
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

    /// Publishes until the hub is gone. What comes while a lane's round is under way is the lane's next.
    pub(crate) async fn run(self, hub: &Hub) {
        let Self {
            mut queue,
            carrier,
            mut lanes,
        } = self;
        let mut tick = interval(hub.limits.beacon_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        let mut jobs = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => lanes.beacons_due(hub),
                () = hub.beacon_now.notified() => lanes.beacons_due(hub),
                Some(key) = under_way.next() => lanes.free(key),
                count = queue.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
            }
            // What waits goes along with what is due.
            while jobs.len() < BATCH {
                let Ok(job) = queue.try_recv() else {
                    break;
                };
                jobs.push(job);
            }
            let mut done = Vec::new();
            let mut rounds = Vec::new();
            {
                let mut books = carrier.books();
                lanes.follow(hub, &mut books);
                for job in jobs.drain(..) {
                    done.extend(lanes.take(hub, &mut books, job));
                }
                for key in lanes.ready() {
                    let (round, answered) = lanes.start(hub, &mut books, key);
                    done.extend(answered);
                    rounds.push((key, round));
                }
            }
            carrier.reply(hub, done).await;
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
