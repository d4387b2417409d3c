//! How long after a fault each hub delivers what was sent since.

use std::collections::{HashMap, HashSet};

use super::index::Fault;

/// A hub has this long to deliver what is new, in microseconds.
const LIMIT: u64 = 10_000_000;

/// One fault, and what each hub delivered after it.
#[derive(Debug)]
struct Healing {
    /// When it was over, in microseconds of the run's clock.
    end: u64,
    /// The next fault, which may come before healing can be seen.
    next: u64,
    /// By hub: when the first message came that was sent after the fault.
    first: HashMap<String, u64>,
    /// Hubs that had clients long enough.
    there: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Heal(Vec<Healing>);

impl Heal {
    pub(super) fn new(faults: &[Fault]) -> Self {
        // A fault that never ended, such as a dead hub, is not healed from.
        let ended = faults.iter().filter(|fault| fault.end != u64::MAX);
        Self(
            ended
                .map(|fault| Healing {
                    // The fault after this one.
                    end: fault.end,
                    next: faults
                        .iter()
                        .map(|other| other.begin)
                        .filter(|begin| *begin > fault.end)
                        .min()
                        .unwrap_or(u64::MAX),
                    first: HashMap::new(),
                    there: HashSet::new(),
                })
                .collect(),
        )
    }

    /// A client of this hub got a message, which was sent at one time and came at another.
    pub(super) fn delivered(&mut self, hub: &str, sent: u64, t: u64) {
        // A message may be the first one after several faults.
        for healing in self.0.iter_mut().filter(|healing| healing.end <= sent) {
            match healing.first.get_mut(hub) {
                // Clients are read one after the other, so a later one may have the earlier time.
                Some(first) => *first = (*first).min(t),
                None => _ = healing.first.insert(hub.to_owned(), t),
            }
        }
    }

    /// A client was subscribed at that hub from one time to another.
    pub(super) fn connected(&mut self, hub: &str, from: u64, to: u64) {
        // Before the fault ended, and for all the time that the hub has: otherwise its silence says
        // nothing.
        for healing in &mut self.0 {
            if from <= healing.end
                && to >= healing.end.saturating_add(LIMIT)
                && !healing.there.contains(hub)
            {
                healing.there.insert(hub.to_owned());
            }
        }
    }

    /// Microseconds from the end of each fault to each hub's first delivery. What comes after the
    /// next fault belongs to that.
    pub(super) fn times(&self) -> Vec<u64> {
        let mut times = Vec::new();
        for healing in &self.0 {
            let seen = healing
                .first
                .values()
                .filter(|first| **first < healing.next);
            times.extend(seen.map(|first| first - healing.end));
        }
        times
    }

    /// Hubs with clients that delivered nothing new in time, over all faults.
    pub(super) fn unhealed(&self) -> u64 {
        let mut count = 0;
        for healing in &self.0 {
            let limit = healing.end.saturating_add(LIMIT);
            // Only where the next fault left enough time.
            if healing.next >= limit {
                let late =
                    |hub: &&String| healing.first.get(*hub).is_none_or(|first| *first > limit);
                count += healing.there.iter().filter(late).count() as u64;
            }
        }
        count
    }
}
