//! The reading thread: every record of every partition, in order, once.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use hubplane_backplane::{Event, EventSender, GapCause, Publication, Scope};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    message::Message,
};

use crate::{
    connection::{Shared, consumer},
    context::Context,
    record, topic,
};

/// Records of one event.
const BATCH: usize = 256;
const POLL: Duration = Duration::from_millis(100);
/// Two findings of another log within this time are one.
const SAME: Duration = Duration::from_secs(10);
const PROGRESS: Duration = Duration::from_secs(1);

/// What the watching thread has found out.
#[derive(Debug)]
pub(crate) enum Order {
    /// The consumer is behind and does not move.
    Assign,
    /// It still does not move.
    Recreate,
    /// There are more partitions.
    Grow(u32),
    /// The topic was deleted and is there again.
    Replaced(u32),
}

type Live = BaseConsumer<Context>;

struct Reader<'a> {
    shared: &'a Shared,
    live: Live,
    events: &'a EventSender,
    /// Lanes that have moved since the last progress.
    moved: std::collections::BTreeSet<i32>,
    reported: Instant,
    strays: u64,
    /// When this thread itself saw that the log is another one.
    replaced: Option<Instant>,
}

pub(crate) fn run(
    shared: &Arc<Shared>,
    live: Live,
    orders: &Receiver<Order>,
    events: &EventSender,
) {
    let mut reader = Reader {
        shared,
        live,
        events,
        moved: std::collections::BTreeSet::new(),
        reported: Instant::now(),
        strays: 0,
        replaced: None,
    };
    reader.assign();
    while !shared.is_closed() {
        match orders.try_recv() {
            Ok(order) => reader.obey(&order),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        if !reader.read() {
            return;
        }
        reader.progress();
    }
}

impl Reader<'_> {
    /// Reads on at this instance's own offsets.
    fn assign(&self) {
        let mut list = TopicPartitionList::new();
        for (partition, next) in self.shared.next() {
            list.add_partition_offset(&self.shared.config.topic, partition, Offset::Offset(next))
                .expect("invariant: an offset of 0 or more");
        }
        if let Err(error) = self.live.assign(&list) {
            tracing::error!(%error, "the partitions can't be assigned");
        }
    }

    fn obey(&mut self, order: &Order) {
        match *order {
            Order::Assign => {
                tracing::warn!("the consumer stays behind; assigning its partitions anew");
                self.assign();
            }
            Order::Recreate => {
                tracing::warn!("the consumer still stays behind; making a new one");
                match consumer(&self.shared.config, &self.shared.trouble) {
                    Ok(live) => {
                        let old = std::mem::replace(&mut self.live, live);
                        // Ending a consumer can take a while.
                        thread::spawn(move || drop(old));
                        self.assign();
                    }
                    Err(error) => tracing::error!(%error, "no new consumer"),
                }
            }
            Order::Grow(partitions) => {
                tracing::warn!(
                    partitions,
                    "the topic has more partitions; channels move to other ones"
                );
                self.replace(partitions, false);
            }
            // The offsets have told already.
            Order::Replaced(_) if self.replaced.is_some_and(|at| at.elapsed() < SAME) => {}
            Order::Replaced(partitions) => {
                tracing::warn!(partitions, "the topic was created anew");
                self.replace(partitions, true);
            }
        }
    }

    /// Another log, or one that is cut differently: positions from before are worth nothing.
    fn replace(&mut self, partitions: u32, from_start: bool) {
        {
            let mut next = self
                .shared
                .next
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if from_start {
                next.clear();
            }
            for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
                next.entry(partition).or_insert(0);
            }
        }
        self.shared.partitions.store(partitions, Ordering::Relaxed);
        self.new_epoch(partitions, from_start);
        self.gap(Scope::All, GapCause::LogReplaced);
        self.assign();
    }

    fn new_epoch(&self, partitions: u32, replaced: bool) {
        let epoch = if replaced {
            // Nothing that all instances know tells this log from the one before; each is on its own until a restart.
            getrandom::u64()
                .unwrap_or_else(|_| self.shared.epoch.load(Ordering::Relaxed).wrapping_add(1))
        } else {
            let cluster = self.live.client().fetch_cluster_id(Duration::from_secs(3));
            topic::epoch(cluster.as_deref(), &self.shared.config.topic, partitions)
        };
        self.shared.epoch.store(epoch, Ordering::Relaxed);
    }

    fn gap(&self, scope: Scope, cause: GapCause) {
        self.shared.send(self.events, Event::Gap { scope, cause });
    }

    /// Takes what is there. `false`: the instance is closed.
    fn read(&mut self) -> bool {
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        let mut batch = Vec::new();
        let mut next = self.shared.next();
        let mut lost = false;
        let mut wait = POLL;
        while batch.len() < BATCH {
            match self.live.poll(wait) {
                None => break,
                Some(Ok(record)) => {
                    let place = next.entry(record.partition()).or_insert(0);
                    // What was read already comes again after an assignment.
                    if record.offset() >= *place {
                        *place = record.offset() + 1;
                        self.moved.insert(record.partition());
                        match record::publication(&record, epoch) {
                            Some(publication) => batch.push(publication),
                            None => self.strays += 1,
                        }
                    }
                }
                Some(Err(error)) => {
                    lost |= error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset);
                    tracing::debug!(%error, "reading");
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        let moved = !batch.is_empty();
        if moved && !self.hand_over(batch) {
            return false;
        }
        *self
            .shared
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = next;
        if lost {
            self.find_again();
        }
        true
    }

    fn hand_over(&self, batch: Vec<Publication>) -> bool {
        self.shared.held.store(true, Ordering::Relaxed);
        let sent = self.shared.send(self.events, Event::Published(batch));
        self.shared.held.store(false, Ordering::Relaxed);
        sent
    }

    /// An offset is outside its partition's log: says so, and reads on where the log is.
    fn find_again(&mut self) {
        let mut replaced = false;
        for (partition, place) in self.shared.next() {
            let ends = self.live.fetch_watermarks(
                &self.shared.config.topic,
                partition,
                Duration::from_secs(2),
            );
            let Ok((start, end)) = ends else { continue };
            let to = if place < start {
                tracing::warn!(
                    partition,
                    place,
                    start,
                    "the log no longer reaches back to what was read last"
                );
                self.gap(Scope::Lane(partition.unsigned_abs()), GapCause::Trimmed);
                start
            } else if place > end {
                tracing::warn!(
                    partition,
                    place,
                    end,
                    "the log is shorter than what was read"
                );
                if !replaced {
                    self.new_epoch(self.shared.partitions.load(Ordering::Relaxed), true);
                    replaced = true;
                    self.replaced = Some(Instant::now());
                }
                self.gap(Scope::Lane(partition.unsigned_abs()), GapCause::LogReplaced);
                start
            } else {
                continue;
            };
            self.shared
                .next
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(partition, to);
            self.moved.insert(partition);
        }
        self.assign();
    }

    fn progress(&mut self) {
        if self.reported.elapsed() < PROGRESS {
            return;
        }
        self.reported = Instant::now();
        if self.strays > 0 {
            let count = std::mem::take(&mut self.strays);
            tracing::warn!(
                count,
                "records without a key that is a channel's name were passed over"
            );
        }
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        let next = self.shared.next();
        for partition in std::mem::take(&mut self.moved) {
            let Some(place) = next.get(&partition) else {
                continue;
            };
            // Where the hub is behind, the publications themselves tell.
            _ = self
                .events
                .try_send(Event::Progress(record::position(epoch, partition, *place)));
        }
    }
}
