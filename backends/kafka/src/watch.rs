//! The watching thread: asks each second, over a connection of its own, how far the log is. An assigned consumer can
//! stay deaf after a broker's restart without a word; this finds out.

use std::{
    collections::BTreeMap,
    sync::{atomic::Ordering, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use hubplane_backplane::{Event, EventSender};
use rdkafka::consumer::Consumer;

use crate::{
    connection::Shared,
    consume::Order,
    topic::{self, Probe},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// For an answer; with the pause before it, a silent broker is called away within 3.5 s.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the thread looks whether something urgent has happened.
const STEP: Duration = Duration::from_millis(100);
/// Between two looks at the number of partitions.
const METADATA: Duration = Duration::from_secs(10);
/// A consumer behind for so long without moving is assigned anew, and after as long again made anew.
const STUCK: Duration = Duration::from_secs(3);

struct Watcher<'a> {
    shared: &'a Shared,
    probe: Probe,
    orders: &'a SyncSender<Order>,
    events: &'a EventSender,
    last: BTreeMap<i32, i64>,
    stuck_since: Option<Instant>,
    assigned: bool,
    vanished: bool,
    asked: Instant,
}

pub(crate) fn run(shared: &Shared, probe: Probe, orders: &SyncSender<Order>, events: &EventSender) {
    let last = shared.next();
    let asked = Instant::now();
    let mut watcher = Watcher {
        shared,
        probe,
        orders,
        events,
        last,
        stuck_since: None,
        assigned: false,
        vanished: false,
        asked,
    };
    while !shared.is_closed() {
        watcher.pause();
        watcher.look();
    }
}

impl Watcher<'_> {
    fn pause(&self) {
        let until = Instant::now() + EVERY;
        while Instant::now() < until && !self.shared.is_closed() {
            if self.shared.trouble.all_down.load(Ordering::Relaxed)
                && !self.shared.down.load(Ordering::Relaxed)
            {
                return;
            }
            thread::sleep(STEP);
        }
    }

    fn look(&mut self) {
        // Callbacks run inside of polls only.
        drop(self.probe.poll(Duration::ZERO));
        if self.shared.is_closed() {
            return;
        }
        match self.ends() {
            Some(ends) => self.compare(&ends),
            None => self.down(),
        }
    }

    /// The next offset of each partition at the broker; `None` where it does not answer.
    fn ends(&mut self) -> Option<BTreeMap<i32, i64>> {
        let topic = &self.shared.config.topic;
        let mut ends = BTreeMap::new();
        let start = Instant::now();
        if self.vanished || self.asked.elapsed() > METADATA {
            self.asked = Instant::now();
            let count = topic::partitions(&self.probe, topic, ANSWER).ok()?;
            if count == 0 {
                self.vanished = true;
                return None;
            }
            let known = self.shared.partitions.load(Ordering::Relaxed);
            if std::mem::take(&mut self.vanished) {
                self.order(Order::Replaced(count));
            } else if count > known {
                self.order(Order::Grow(count));
            }
        }
        for partition in self.shared.next().into_keys() {
            let left = ANSWER.saturating_sub(start.elapsed()).max(STEP);
            match self.probe.fetch_watermarks(topic, partition, left) {
                Ok((_, end)) => ends.insert(partition, end),
                Err(error) => {
                    tracing::debug!(%error, partition, "the log's end can't be read");
                    // Whether the topic is gone is told by its metadata only.
                    self.vanished = topic::partitions(&self.probe, topic, STEP * 5)
                        .is_ok_and(|count| count == 0);
                    return None;
                }
            };
        }
        self.shared.trouble.all_down.store(false, Ordering::Relaxed);
        Some(ends)
    }

    fn order(&self, order: Order) {
        // A thread that is held by the hub gets it later: the next look finds the same.
        _ = self.orders.try_send(order);
    }

    fn down(&mut self) {
        self.stuck_since = None;
        if !self.shared.down.swap(true, Ordering::Relaxed) {
            let reason = match self.vanished {
                true => format!("the topic {:?} is gone", self.shared.config.topic),
                false => format!("{} does not answer", self.shared.config.brokers),
            };
            self.shared.send(self.events, Event::Down(reason));
        }
    }

    /// Holds what was read against what is there.
    fn compare(&mut self, ends: &BTreeMap<i32, i64>) {
        let next = self.shared.next();
        let behind = |partition: &i32| {
            next.get(partition)
                .is_none_or(|next| next < &ends[partition])
        };
        let any_behind = ends.keys().any(behind);
        let moved = next != self.last;
        self.last = next.clone();
        if !any_behind || moved {
            self.stuck_since = None;
            self.assigned = false;
            if self.shared.down.swap(false, Ordering::Relaxed) {
                self.shared.send(self.events, Event::Up);
            }
            return;
        }
        if self.shared.held.load(Ordering::Relaxed) {
            self.stuck_since = None;
            return;
        }
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        if since.elapsed() > STUCK {
            self.stuck_since = None;
            let again = std::mem::replace(&mut self.assigned, true);
            self.order(if again {
                Order::Recreate
            } else {
                Order::Assign
            });
        }
    }
}
