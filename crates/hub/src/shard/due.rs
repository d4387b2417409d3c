//! Messages that wait for their time, because their clients asked for so many a second and no more.
//!
//! The messages themselves are in their sessions' outboxes; here is only when to look there. No
//! message waits longer than a second, and times are whole milliseconds, so there are few different
//! ones. What is here may be out of date: a look that finds nothing due does no harm.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Shard, ShardState, found};
use crate::{Hub, key::Key};

/// When to look at which subscriptions.
#[derive(Debug)]
pub(super) struct Due {
    origin: Instant,
    /// A session and the slot of its subscription, by milliseconds since the origin.
    by_time: BTreeMap<u64, Vec<(Key, u32)>>,
}

impl Default for Due {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            by_time: BTreeMap::new(),
        }
    }
}

impl Due {
    /// Notes that a subscription's message is due then, rounded up to a millisecond.
    pub(super) fn add(&mut self, at: Instant, session: Key, slot: u32) {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        let millis = u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.by_time
            .entry(millis)
            .or_default()
            .push((session, slot));
    }

    /// Returns true if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// Returns when the next look is due, `None` if nothing waits.
    fn next(&self) -> Option<Instant> {
        let (&millis, _) = self.by_time.first_key_value()?;
        Some(self.origin + Duration::from_millis(millis))
    }

    /// Returns the subscriptions to look at that were noted for the earliest time, if it has come.
    fn take(&mut self, now: Instant) -> Option<Vec<(Key, u32)>> {
        self.next().filter(|at| *at <= now)?;
        self.by_time.pop_first().map(|(_, all)| all)
    }
}

impl Shard {
    /// Waits until a message's time has come; for ever if none waits now. What is added while this
    /// waits is seen by the next call only, and deliveries are by the same task.
    pub(super) async fn next_due(&self) {
        let next = self.state.borrow().unwritten.due.next();
        match next {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}

impl ShardState {
    /// Queues the messages whose time has come. Reads no clock if none waits.
    pub(super) fn send_due(&mut self, hub: &Hub) {
        if !self.unwritten.due.is_empty() {
            self.send_due_at(hub, Instant::now());
        }
    }

    /// The same, with the time handed in.
    pub(super) fn send_due_at(&mut self, hub: &Hub, now: Instant) {
        let mut deliveries = 0;
        while let Some(all) = self.unwritten.due.take(now) {
            for (key, slot) in all {
                let Some(session) = found(&mut self.sessions, key).filter(|it| !it.is_ending())
                else {
                    continue;
                };
                if let Some(frame) = session.outbox.take_due(slot, now) {
                    deliveries += 1;
                    self.unwritten
                        .queue_message(hub, key.index, session, (slot, frame));
                }
            }
        }
        hub.count_deliveries(deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_due_in_order_and_never_early() {
        let mut due = Due::default();
        let at = |micros| due.origin + Duration::from_micros(micros);
        let times = [2_500, 1_000, 3_000, 0].map(at);
        let key = |index| Key { index, serial: 0 };
        for (index, time) in (0..).zip(times) {
            due.add(time, key(index), 7);
        }
        let origin = due.origin;
        let mut take = |micros| due.take(origin + Duration::from_micros(micros));
        assert_eq!(take(2_999), Some(vec![(key(3), 7)]));
        assert_eq!(take(2_999), Some(vec![(key(1), 7)]));
        assert_eq!(take(2_999), None);
        assert_eq!(take(3_000), Some(vec![(key(0), 7), (key(2), 7)]));
        assert!(due.next().is_none());
    }
}
