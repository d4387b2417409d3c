//! What waits in each lane's queue, and which lane may publish next. Pure: messages come in, and it
//! says what goes out. [`Lanes`](super::lanes::Lanes) knows which lane a message belongs in.
//!
//! A lane has one batch at the broker at a time, so its order is kept.

use std::{collections::VecDeque, time::Instant};

use hubplane_backplane::Outgoing;

use super::jobs::Owner;
use crate::{map::HashMap, sequencer::Sequence};

/// A lane of the log. `None` stands for all channels where each counts for itself: they share one
/// queue.
pub(super) type Key = Option<u32>;

/// Returns the queue that a sequence waits in.
pub(super) const fn key(sequence: &Sequence) -> Key {
    match sequence {
        Sequence::Lane(lane) => Some(*lane),
        Sequence::Channel(_) => None,
    }
}

/// The queues of all lanes.
#[derive(Debug, Default)]
pub(super) struct LaneQueues {
    queues: HashMap<Key, LaneQueue>,
}

#[derive(Debug, Default)]
struct LaneQueue {
    /// Messages in the order in which they were handed in.
    waiting: VecDeque<Queued>,
    /// Beacons are due, and go along with the next batch.
    due: bool,
    /// A batch is at the broker.
    busy: bool,
}

/// A message that waits for its lane.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) outgoing: Outgoing,
    /// Whose message it is.
    pub(super) owner: Owner,
    pub(super) deadline: Instant,
}

impl LaneQueues {
    /// Returns true if one more message may wait for this lane; `most` is how many may wait on this
    /// instance. A lane that takes nothing may fill half of that, so that the others have the rest.
    pub(super) fn has_room(&self, key: Key, most: usize) -> bool {
        let waiting = self.queues.get(&key).map_or(0, |it| it.waiting.len());
        self.queues.len() <= 1 || waiting <= most / 2
    }

    /// Appends a message to a lane's queue.
    pub(super) fn push(&mut self, key: Key, queued: Queued) {
        let queue = self.queues.entry(key).or_default();
        queue.waiting.push_back(queued);
    }

    /// Notes that a lane's beacons are due.
    pub(super) fn beacons_due(&mut self, key: Key) {
        self.queues.entry(key).or_default().due = true;
    }

    /// Returns the lanes that have something to publish and nothing at the broker.
    pub(super) fn ready(&self) -> Vec<Key> {
        let ready = |queue: &LaneQueue| !queue.busy && (queue.due || !queue.waiting.is_empty());
        let queues = self.queues.iter();
        queues.filter(|it| ready(it.1)).map(|it| *it.0).collect()
    }

    /// Takes the message that has waited longest for this lane.
    pub(super) fn pop(&mut self, key: Key) -> Option<Queued> {
        self.queues.get_mut(&key)?.waiting.pop_front()
    }

    /// Notes that the lane's batch is at the broker from now on. Returns true if beacons go along.
    pub(super) fn occupy(&mut self, key: Key) -> bool {
        let queue = self.queues.entry(key).or_default();
        queue.busy = true;
        std::mem::take(&mut queue.due)
    }

    /// Notes that a lane's batch is over.
    pub(super) fn free(&mut self, key: Key) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Key = Some(0);
    const OTHER: Key = Some(1);

    /// Puts messages into a lane's queue that are told apart by their data.
    fn push(queues: &mut LaneQueues, key: Key, data: &[&'static str]) {
        for data in data {
            let queued = Queued {
                outgoing: Outgoing::new("c", *data),
                owner: (0, 0),
                deadline: Instant::now(),
            };
            queues.push(key, queued);
        }
    }

    #[test]
    fn a_lane_keeps_its_order_and_holds_up_no_other() {
        let mut queues = LaneQueues::default();
        push(&mut queues, LANE, &["a", "b"]);
        push(&mut queues, OTHER, &["x"]);
        let mut pop = |key| queues.pop(key).map(|it| it.outgoing.data);
        assert_eq!(pop(LANE), Some("a".into()));
        assert_eq!(pop(OTHER), Some("x".into()));
        assert_eq!(pop(LANE), Some("b".into()));
        assert_eq!(pop(LANE), None);
        assert_eq!(pop(None), None, "a lane that nothing ever waited for");
    }

    #[test]
    fn a_lane_has_one_batch_at_the_broker() {
        let mut queues = LaneQueues::default();
        assert!(queues.ready().is_empty());
        push(&mut queues, LANE, &["a", "b"]);
        assert_eq!(queues.ready(), [LANE]);
        queues.pop(LANE);
        assert!(!queues.occupy(LANE), "no beacons are due");
        push(&mut queues, OTHER, &["x"]);
        assert_eq!(queues.ready(), [OTHER], "the first lane's batch is away");
        queues.free(LANE);
        queues.pop(OTHER);
        assert_eq!(queues.ready(), [LANE]);
    }

    #[test]
    fn beacons_that_are_due_wait_for_the_batch_and_go_once() {
        let mut queues = LaneQueues::default();
        queues.beacons_due(LANE);
        assert_eq!(queues.ready(), [LANE], "also without a message");
        assert!(queues.occupy(LANE));
        queues.beacons_due(LANE);
        queues.beacons_due(LANE);
        assert!(queues.ready().is_empty());
        queues.free(LANE);
        assert!(queues.occupy(LANE));
        queues.free(LANE);
        assert!(queues.ready().is_empty());
    }

    #[test]
    fn one_of_several_lanes_may_fill_half_of_the_room() {
        let mut queues = LaneQueues::default();
        push(&mut queues, LANE, &["a", "b", "c"]);
        assert!(queues.has_room(LANE, 4), "a lane alone may fill all of it");
        push(&mut queues, OTHER, &["x", "y"]);
        assert!(!queues.has_room(LANE, 4));
        assert!(queues.has_room(OTHER, 4));
        assert!(queues.has_room(Some(2), 4), "nothing waits there yet");
    }

    #[test]
    fn channels_that_count_for_themselves_share_a_queue() {
        assert_eq!(key(&Sequence::Channel("a".into())), None);
        assert_eq!(key(&Sequence::Lane(3)), Some(3));
    }
}
