//! What the next batch of each lane is: asks the hub which lane a message belongs in, refuses what
//! can't be published, and gives out the numbers.
//!
//! The queues are in `lane_queues.rs`; [`Carrier`](super::carrier::Carrier) carries a batch out.
//! Numbers are given out when a batch starts and not before, so what is refused before takes none.

use std::time::Instant;

use hubplane_backplane::{Channel, Error, ErrorKind};

use super::{
    Job,
    in_flight_batch::{InFlightBatch, Place},
    jobs::{Answered, Books},
    lane_queues::{Key, LaneQueues, Queued, key},
};
use crate::{Hub, beacon, map::HashMap, sequencer::Sequence};

/// The most messages of one call to the backplane.
pub(super) const BATCH: usize = 1_024;
/// How many channels' last numbers one beacon carries.
const TAILS: usize = 512;
/// How many last numbers are told in one turn of the beacons, by all of them together.
const MOST_TAILS: usize = 16 * TAILS;

/// The queues of all lanes, and where their beacons go.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    queues: LaneQueues,
    /// Where each sequence's beacons are published.
    beacons: HashMap<Sequence, Channel>,
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

    /// Returns an error if too much waits for a channel's lane.
    fn has_room(&self, hub: &Hub, channel: &Channel) -> Result<(), Error> {
        let key = key(&hub.sequence_of(channel));
        match self.queues.has_room(key, hub.limits().publish_messages) {
            true => Ok(()),
            false => Err(unavailable(
                "too much waits for this lane of the broker's log; not published",
            )),
        }
    }

    /// Appends a message to its lane's queue.
    fn queue(&mut self, hub: &Hub, queued: Queued) {
        let key = key(&hub.sequence_of(&queued.outgoing.channel));
        self.queues.push(key, queued);
    }

    /// Notes that beacons are due in every sequence that this instance watches. They go with the
    /// next batch, since batches of their own would keep publishers waiting while a broker stands
    /// still.
    pub(super) fn beacons_due(&mut self, hub: &Hub) {
        for sequence in hub.beacon_monitor().sequences() {
            self.queues.beacons_due(key(&sequence));
        }
    }

    /// Notes that a lane's batch is over.
    pub(super) fn free(&mut self, key: Key) {
        self.queues.free(key);
    }

    /// Returns the lanes that have something to publish and nothing at the broker.
    pub(super) fn ready(&self) -> Vec<Key> {
        self.queues.ready()
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
            let Some(queued) = self.queues.pop(key) else {
                break;
            };
            done.extend(self.admit(hub, books, &mut round, (key, queued)));
        }
        // Behind the messages, so that beacons hold up none of them.
        if self.queues.occupy(key) {
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
