//! What waits for each lane. A lane has one batch at the broker at a time, so its order is kept; a
//! lane whose broker does not answer holds up its own channels and no others.
//!
//! Decides what the next batch of a lane is; [`Carrier`](super::carrier::Carrier) carries it out.
//! Numbers are given out here, when a batch starts and not before, so what is refused before takes
//! none.

use std::{collections::VecDeque, time::Instant};

use hubplane_backplane::{Channel, Error, ErrorKind, Outgoing};

use super::{
    Job,
    in_flight_batch::{InFlightBatch, Place},
    jobs::{Answered, Books, Owner},
};
use crate::{Hub, beacon, map::HashMap, sequencer::Sequence};

/// The most messages of one call to the backplane.
pub(super) const BATCH: usize = 1_024;
/// How many channels' last numbers one beacon carries.
const TAILS: usize = 512;
/// How many last numbers are told in one turn of the beacons, by all of them together.
const MOST_TAILS: usize = 16 * TAILS;

/// A lane of the log. `None` stands for all channels where each counts for itself: they share one
/// queue.
pub(super) type Key = Option<u32>;

/// The queues of all lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    queues: HashMap<Key, LaneQueue>,
    /// Where each sequence's beacons are published.
    beacons: HashMap<Sequence, Channel>,
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

#[derive(Debug)]
struct Queued {
    outgoing: Outgoing,
    /// Whose message it is.
    owner: Owner,
    deadline: Instant,
}

/// Returns the queue that a sequence waits in.
fn key(sequence: &Sequence) -> Key {
    match sequence {
        Sequence::Lane(lane) => Some(*lane),
        Sequence::Channel(_) => None,
    }
}

impl Lanes {
    /// Puts a job's messages into their lanes' queues. Returns the job if all of its messages are
    /// refused at once.
    pub(super) fn take(&mut self, hub: &Hub, books: &mut Books, job: Job) -> Vec<Answered> {
        // Opened before its messages are looked at, so that each has a place for its answer.
        let owner = books.open(job.reply_to, job.messages.len(), job.bytes);
        let mut refused = Vec::new();
        for (place, outgoing) in job.messages.into_iter().enumerate() {
            let owner = (owner, place);
            let checked =
                // What the broker can never take is refused before it holds up anything.
                hub.capabilities()
                    .check(hub.driver(), &outgoing.channel, outgoing.data.len());
            let checked = checked.and_then(|()| self.has_room(hub, &outgoing.channel));
            if let Err(error) = checked {
                refused.extend(books.settle(owner, Err(error)));
                continue;
            }
            self.queue(
                hub,
                Queued {
                    outgoing,
                    owner,
                    deadline: job.deadline,
                },
            );
        }
        refused
    }

    /// Returns an error if too much waits for a channel's lane. A lane that takes nothing may fill
    /// half of what may wait on this instance, so that the others have the rest.
    fn has_room(&self, hub: &Hub, channel: &Channel) -> Result<(), Error> {
        let queue = self.queues.get(&key(&hub.sequence_of(channel)));
        let waiting = queue.map_or(0, |queue| queue.waiting.len());
        let most = hub.limits().publish_messages / 2;
        match self.queues.len() > 1 && waiting > most {
            true => Err(unavailable(
                "too much waits for this lane of the broker's log; not published",
            )),
            false => Ok(()),
        }
    }

    /// Appends a message to its lane's queue.
    fn queue(&mut self, hub: &Hub, queued: Queued) {
        let key = key(&hub.sequence_of(&queued.outgoing.channel));
        let queue = self.queues.entry(key).or_default();
        queue.waiting.push_back(queued);
    }

    /// Notes that beacons are due in every sequence that this instance watches. They go with the
    /// next batch, since batches of their own would keep publishers waiting while a broker stands
    /// still.
    pub(super) fn beacons_due(&mut self, hub: &Hub) {
        for sequence in hub.beacon_monitor().sequences() {
            self.queues.entry(key(&sequence)).or_default().due = true;
        }
    }

    /// Notes that a lane's batch is over.
    pub(super) fn free(&mut self, key: Key) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.busy = false;
        }
    }

    /// Returns the lanes that have something to publish and nothing at the broker.
    pub(super) fn ready(&self) -> Vec<Key> {
        let ready = |queue: &LaneQueue| !queue.busy && (queue.due || !queue.waiting.is_empty());
        let queues = self.queues.iter();
        queues.filter(|it| ready(it.1)).map(|it| *it.0).collect()
    }

    /// Starts the next batch of a lane that is ready. Returns it with the jobs that are answered
    /// without the broker.
    pub(super) fn start(
        &mut self,
        hub: &Hub,
        books: &mut Books,
        key: Key,
        now: Instant,
    ) -> (InFlightBatch, Vec<Answered>) {
        let up = now.saturating_duration_since(hub.started());
        let mut round = InFlightBatch::new(now, up);
        let mut done = Vec::new();
        for _ in 0..BATCH {
            let queue = self.queues.entry(key).or_default();
            let Some(queued) = queue.waiting.pop_front() else {
                break;
            };
            done.extend(self.admit(hub, books, &mut round, (key, queued)));
        }
        let queue = self.queues.entry(key).or_default();
        queue.busy = true;
        // Behind the messages, so that beacons hold up none of them.
        if std::mem::take(&mut queue.due) {
            self.add_beacons(hub, books, key, &mut round);
        }
        (round, done)
    }

    /// Gives a message its number and adds it to the batch. Returns its job if it is refused and
    /// was the last one open.
    fn admit(
        &mut self,
        hub: &Hub,
        books: &mut Books,
        round: &mut InFlightBatch,
        (key, queued): (Key, Queued),
    ) -> Option<Answered> {
        let sequence = hub.sequence_of(&queued.outgoing.channel);
        if self::key(&sequence) != key {
            // Lanes were added while it waited.
            self.queue(hub, queued);
            return None;
        }
        let Queued {
            outgoing,
            owner,
            deadline,
        } = queued;
        // Refused before it gets a number, so these leave no hole.
        let refusal = if deadline <= round.begun() {
            "the broker was busy or away for the whole time that a publish may wait; not published"
        } else if !books.sequencer.has_room(&sequence) {
            "this instance publishes to too many channels (publish_channels); not published"
        } else {
            let place = Place {
                beacons: self.beacons_of(hub, &sequence),
                sequence,
                owner,
                deadline,
            };
            round.add(books, place, outgoing);
            return None;
        };
        books.settle(owner, Err(unavailable(refusal)))
    }

    /// Returns where a sequence's beacons are published; looked for once, since it may take many
    /// tries.
    fn beacons_of(&mut self, hub: &Hub, sequence: &Sequence) -> Channel {
        if let Sequence::Channel(_) = sequence {
            return beacon::CHANNEL.into();
        }
        let known = self.beacons.entry(sequence.clone());
        let channel = known.or_insert_with(|| beacon::channel(&**hub.backplane(), sequence));
        Channel::clone(channel)
    }

    /// Notices that lanes were added: names fall into other lanes than before, so all lanes must go
    /// on behind the highest number.
    pub(super) fn follow(&mut self, hub: &Hub, books: &mut Books) {
        let falls = |it: (&Sequence, &Channel)| hub.sequence_of(it.1) == *it.0;
        if !self.beacons.iter().all(falls) {
            tracing::info!("the broker's log has other lanes than before");
            self.beacons.clear();
            books.sequencer.level_lanes();
        }
    }

    /// Adds a beacon for every watched sequence of this lane, and more where many channels' last
    /// numbers are to be told.
    fn add_beacons(&mut self, hub: &Hub, books: &mut Books, key: Key, round: &mut InFlightBatch) {
        let now = round.begun();
        // The beacons' turn is also the time to forget counts, just before their last numbers are
        // told.
        books.sequencer.sweep(now);
        let connected = hub.health_state().connected_for(now);
        let foreign = hub.log().window().placements().has_seen_foreign();
        let mut sequences = hub.beacon_monitor().sequences();
        sequences.retain(|sequence| self::key(sequence) == key);
        for sequence in sequences {
            let channel = self.beacons_of(hub, &sequence);
            let generation = match sequence {
                Sequence::Lane(lane) => hub.log().generations().of(lane),
                Sequence::Channel(_) => Default::default(),
            };
            for nth in 0..MOST_TAILS / TAILS {
                let tails = match sequence {
                    Sequence::Lane(_) => Vec::new(),
                    Sequence::Channel(_) => books.sequencer.tails(now, TAILS),
                };
                // One beacon goes out even with nothing to tell: its return proves that this
                // instance hears.
                if nth > 0 && tails.is_empty() {
                    break;
                }
                let channel = Channel::clone(&channel);
                let sequencer = &mut books.sequencer;
                let number = round.beacon(sequencer, &sequence, channel, |beacon| {
                    beacon.connected = Some(connected.as_millis() as u64);
                    beacon.generation = generation;
                    beacon.foreign = foreign;
                    beacon.tails = tails;
                });
                hub.beacon_monitor().sent(&sequence, number, now);
            }
        }
    }
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "hub", message)
}
