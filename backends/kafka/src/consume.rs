//! The reading thread: it gives the hub every record of every partition, in order, once.
//!
//! It reads by manual assignment at its own offsets. There is no consumer group: a group would
//! divide the partitions among the instances, and each of them needs all. What was given out is
//! noted in `Shared::places`, and reading always goes on from there, so a new consumer neither
//! loses nor repeats anything.
//!
//! This thread must not judge by itself whether it is deaf: the watching thread (`watch.rs`) finds
//! that out and sends a [`ReaderCommand`]. Holes in the offsets mean nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use hubplane_backplane::{Event, EventSender, GapCause, Publication, Scope};
use rdkafka::{
    Offset, TopicPartitionList,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
};

use crate::{
    client::{self, Consumer, Offsets},
    failure, identity, record,
    shared::{Layout, Shared},
};

/// Records of one event, and their bytes. What waits for the hub is bounded by both.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;
/// How long one poll waits for the first record of a turn.
const POLL: Duration = Duration::from_millis(100);
/// How often the hub is told how far the reading has come.
const PROGRESS: Duration = Duration::from_secs(1);

/// What the watching thread asks the reading thread to do.
#[derive(Debug)]
pub(crate) enum ReaderCommand {
    /// Assign the partitions anew: the broker was away, or a partition is behind and does not move.
    /// With the log's ends.
    Assign(Offsets),
    /// Read with a new consumer: the partition still does not move. With the log's ends.
    Recreate(Offsets),
    /// The topic has more partitions: so many now.
    Grow(u32),
    /// The topic was deleted and created again, with so many partitions.
    Replaced(u32),
    /// The first and the next offset of each partition, to find a lost place again.
    Found(BTreeMap<i32, (i64, i64)>),
}

/// The reading thread's own state.
struct Reader<'a> {
    shared: &'a Shared,
    live: Consumer,
    events: &'a EventSender,
    /// Where the log ended when the partitions were assigned.
    ends: Offsets,
    /// Partitions that have moved since the hub was last told how far the reading is.
    moved: BTreeSet<i32>,
    reported: Instant,
    strays: u64,
}

/// What one turn of reading brought. It is noted in `places` only after the hub has taken the
/// batch.
#[derive(Default)]
struct Turn {
    next: Offsets,
    heard: BTreeSet<i32>,
    empty: Offsets,
    batch: Vec<Publication>,
    bytes: usize,
    undecodable: bool,
}

/// The thread's body: reads until the instance is closed. `live` is the first consumer.
pub(crate) fn run(
    shared: &Shared,
    live: Consumer,
    orders: &Receiver<ReaderCommand>,
    events: &EventSender,
) {
    let mut reader = Reader {
        shared,
        live,
        events,
        ends: Offsets::new(),
        moved: BTreeSet::new(),
        reported: Instant::now(),
        strays: 0,
    };
    reader.assign(Offsets::new());
    while !shared.is_closed() {
        match orders.try_recv() {
            Ok(order) => reader.obey(order),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        if shared.renew.load(Ordering::Relaxed) {
            tracing::warn!("nothing arrives any more; reading with a new consumer");
            reader.renew();
            shared.renew.store(false, Ordering::Relaxed);
        }
        if !reader.read() {
            return;
        }
        reader.progress();
    }
}

impl Reader<'_> {
    /// Reads on at this instance's own offsets. `ends` are the ends of the log as they were asked
    /// for just before.
    fn assign(&mut self, ends: Offsets) {
        self.ends = ends;
        let mut list = TopicPartitionList::new();
        let mut places = self.shared.places();
        places.heard.clear();
        for (partition, next) in &places.next {
            list.add_partition_offset(&self.shared.config.topic, *partition, Offset::Offset(*next))
                .expect("invariant: an offset of 0 or more");
        }
        drop(places);
        if let Err(error) = client::assign(&self.live, &list) {
            tracing::error!(%error, "the partitions can't be assigned");
        }
    }

    fn obey(&mut self, command: ReaderCommand) {
        match command {
            ReaderCommand::Assign(ends) => {
                tracing::debug!("assigning the partitions anew");
                self.assign(ends);
            }
            ReaderCommand::Recreate(ends) => {
                tracing::warn!("the consumer stays behind; making a new one");
                self.recreate();
                self.assign(ends);
            }
            ReaderCommand::Grow(count) if count <= self.shared.layout().partitions => {}
            ReaderCommand::Grow(count) => {
                tracing::warn!(
                    partitions = count,
                    "the topic has more partitions; channels move to other ones"
                );
                self.replace(count);
            }
            ReaderCommand::Replaced(count) => {
                tracing::warn!(partitions = count, "the topic was created anew");
                let mut places = self.shared.places();
                places.next.clear();
                places.empty.clear();
                drop(places);
                // The old consumer knows the old topic only.
                self.recreate();
                self.replace(count);
                self.shared.acknowledged().clear(); // Last: under the new epoch no late answer is noted.
            }
            ReaderCommand::Found(ranges) => self.find_again(&ranges),
        }
    }

    /// Reads with a new consumer. All that was given out is in `places`, so nothing is lost or
    /// repeated, and the ends that were known stay known.
    fn renew(&mut self) {
        self.recreate();
        let ends = mem::take(&mut self.ends);
        self.assign(ends);
    }

    /// Replaces the consumer. The old one ends on another thread.
    fn recreate(&mut self) {
        match self.shared.consumer() {
            Ok(live) => {
                let old = mem::replace(&mut self.live, live);
                self.shared.end_aside(move || drop(old));
            }
            Err(error) => tracing::error!(%error, "no new consumer"),
        }
    }

    /// Goes over to another log, or to one with more partitions: positions from before are void.
    /// Partitions that this instance has not read yet are read from their start.
    fn replace(&mut self, count: u32) {
        let mut places = self.shared.places();
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            places.next.entry(partition).or_insert(0);
        }
        drop(places);
        let before = self.shared.layout().epoch;
        let epoch = match self.shared.identity.id() {
            Some(id) => identity::epoch(&id, count),
            None => identity::rolled_back(before, -1, i64::from(count)),
        };
        self.shared.set_layout(Layout {
            partitions: count,
            epoch,
        });
        self.gap(Scope::All, GapCause::LogReplaced);
        self.assign(Offsets::new());
    }

    fn gap(&self, scope: Scope, cause: GapCause) {
        self.shared.send(self.events, Event::Gap { scope, cause });
    }

    /// Reads one batch and gives it to the hub. Returns false if the instance is closed.
    fn read(&mut self) -> bool {
        let denied = self.shared.trouble.denied().is_some();
        let epoch = self.shared.layout().epoch;
        let mut turn = Turn {
            next: self.shared.places().next.clone(),
            ..Turn::default()
        };
        let mut wait = POLL;
        while turn.batch.len() < BATCH && turn.bytes < BATCH_BYTES && !turn.undecodable {
            match self.live.poll(wait) {
                None => break,
                Some(Ok(record)) => {
                    self.strays += u64::from(!turn.take(&record, epoch, &mut self.moved));
                }
                // A sign of life, also where nothing is published; and only records for nobody, such
                // as a transaction's marks, lie before the end that was asked for.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    turn.heard.insert(partition);
                    if let Some(end) = self.ends.remove(&partition) {
                        turn.empty.insert(partition, end);
                    }
                }
                Some(Err(error)) => turn.undecodable = self.troubled(&error),
            }
            // Only the first poll waits. The others take what is there, so that a burst goes to the
            // hub as one event.
            wait = Duration::ZERO;
        }
        let Turn {
            next,
            heard,
            empty,
            batch,
            undecodable,
            ..
        } = turn;
        if !batch.is_empty() && !self.hand_over(batch) {
            return false;
        }
        if undecodable {
            self.gap(Scope::All, GapCause::Undecodable);
        }
        if denied && !heard.is_empty() {
            self.shared.trouble.allow();
        }
        let mut places = self.shared.places();
        places.next = next;
        places.heard.extend(heard);
        places.empty.extend(empty);
        true
    }

    /// Looks at an error of the consumer. Returns true if there were records that can't be read;
    /// librdkafka passes over them.
    fn troubled(&self, error: &KafkaError) -> bool {
        let code = error.rdkafka_error_code();
        // The offset is outside the log. librdkafka stops reading the partition until it is
        // assigned anew (`auto.offset.reset=error`), so the watching thread is asked to find the
        // place.
        if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            self.shared.lost.store(true, Ordering::Relaxed);
        }
        if code == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            self.shared.trouble.deny(&format!(
                "the user may not read the topic {:?}: {error}",
                self.shared.config.topic
            ));
        }
        let unreadable = failure::is_unreadable(code);
        match unreadable {
            true => tracing::warn!(%error, "records can't be read"),
            false => tracing::debug!(%error, "reading"),
        }
        unreadable
    }

    /// Gives a batch to the hub, and waits for room. `held` tells the watching thread meanwhile
    /// that this thread is waiting for the hub, and is not deaf. Returns false if the instance is
    /// closed.
    fn hand_over(&self, batch: Vec<Publication>) -> bool {
        self.shared.held.store(true, Ordering::Relaxed);
        let sent = self.shared.send(self.events, Event::Published(batch));
        self.shared.held.store(false, Ordering::Relaxed);
        sent
    }

    /// Finds the places again that were outside their partition's log, tells the hub, and reads on
    /// where the log is. `ranges` has the first and the next offset of each partition.
    fn find_again(&mut self, ranges: &BTreeMap<i32, (i64, i64)>) {
        let mut places = self.shared.places().next.clone();
        let layout = self.shared.layout();
        let before = layout.epoch;
        let mut epoch = before;
        let mut trimmed = Vec::new();
        for (partition, place) in &mut places {
            let Some(&(start, end)) = ranges.get(partition) else {
                continue;
            };
            // Retention has removed what came next; reading goes on at the oldest record that is
            // left.
            let to = if *place < start {
                trimmed.push(partition.unsigned_abs());
                start
            } else if *place > end {
                // The log is shorter than what was read, so its end was lost.
                epoch = identity::rolled_back(epoch, *partition, *place);
                end
            } else {
                continue;
            };
            tracing::warn!(partition, place, start, end, "the place is not in the log");
            *place = to;
            self.moved.insert(*partition);
        }
        self.shared.places().next = places;
        self.shared.set_layout(Layout { epoch, ..layout });
        if epoch != before {
            // What was acknowledged may be gone.
            self.shared.acknowledged().clear();
            // The epoch is that of all lanes.
            self.gap(Scope::All, GapCause::LogReplaced);
        }
        for lane in trimmed {
            self.gap(Scope::Lane(lane), GapCause::Trimmed);
        }
        self.assign(
            ranges
                .iter()
                .map(|(part, (_, end))| (*part, *end))
                .collect(),
        );
    }

    /// Tells the hub once a second how far each partition is, and the log how many records belonged
    /// to no channel.
    fn progress(&mut self) {
        if self.reported.elapsed() < PROGRESS {
            return;
        }
        self.reported = Instant::now();
        if self.strays > 0 {
            let count = mem::take(&mut self.strays);
            tracing::warn!(
                count,
                "records without a key that is a channel's name were passed over"
            );
        }
        let epoch = self.shared.layout().epoch;
        let places = self.shared.places();
        for partition in mem::take(&mut self.moved) {
            let Some(place) = places.next.get(&partition) else {
                continue;
            };
            // Where the hub is behind, the publications themselves tell.
            _ = self
                .events
                .try_send(Event::Progress(record::position(epoch, partition, *place)));
        }
    }
}

impl Turn {
    /// Takes one record into the batch. Returns false if the record belongs to no channel.
    fn take(
        &mut self,
        record: &BorrowedMessage<'_>,
        epoch: u64,
        moved: &mut BTreeSet<i32>,
    ) -> bool {
        let place = self.next.entry(record.partition()).or_insert(0);
        self.heard.insert(record.partition());
        // What was read already comes again after an assignment.
        if record.offset() < *place {
            return true;
        }
        *place = record.offset() + 1;
        moved.insert(record.partition());
        let Some(publication) = record::publication(record, epoch) else {
            return record::is_probe(record);
        };
        self.bytes += publication.data.len();
        self.batch.push(publication);
        true
    }
}
