//! The consumer that reads back. It is kept warm between reads, assigned to nothing, and given up
//! after a fault, for another log, or if nobody needed it for a while. A new one takes 14 to 21 ms
//! to make, and the end of the old one up to 100 ms.
//!
//! What must hold: a page after a position misses nothing between the position and its own end, or
//! the answer is `PositionLost`. From an age or from the start on, records that can't be read are
//! passed over. All of this blocks.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use hubplane_backplane::{Channel, ErrorKind, Page, Publication, Result};
use hubplane_kit::log_errors::LostPosition;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
};

use crate::{
    client::{self, Consumer},
    failure,
    failure::closed,
    failure::{lost, unavailable, unreadable},
    record,
    shared::Shared,
    slot::Warm,
};

/// How many records, bytes and how much time one call looks at, at the most. The page then ends
/// early and says where.
const RECORDS: usize = 200_000;
const BYTES: usize = 64 * 1024 * 1024;
const TIME: Duration = Duration::from_secs(2);
/// How long to wait for an answer or the first record of a consumer that may be deaf. Then a new
/// one is made.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// How many consumers one call tries.
const TRIES: u32 = 3;
/// How often the reading checks whether anybody still waits for the page.
const STEP: Duration = Duration::from_millis(50);
/// An age reaches back this much further, since the clocks of publishers differ.
const CLOCKS: Duration = Duration::from_secs(1);

/// What is to be read: one page of one partition.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) partition: i32,
    /// The channel whose messages are wanted; `None` for all.
    pub(crate) channel: Option<Channel>,
    pub(crate) from: From,
    pub(crate) limit: usize,
    pub(crate) epoch: u64,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// At the oldest record that is kept.
    Oldest,
    /// At this offset, which must be in the log or be its end.
    After(i64),
    /// At the first record of this age, but with no more than so many records up to the end.
    Recent(Duration, usize),
}

/// Reads a page. Blocks until `until` at the latest, or until `gone` says that the caller has gone
/// away.
///
/// # Errors
/// `PositionLost`: what comes behind the position can't be read whole. `Unavailable`: the broker
/// does not answer.
pub(crate) fn read(
    shared: &Shared,
    wanted: &Wanted,
    until: Instant,
    gone: &AtomicBool,
) -> Result<Page> {
    let mut slot = shared.replay.locked();
    // `close` empties the slot once, so nothing may be put there after it.
    if shared.is_closed() {
        return Err(closed());
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let warm = match slot.take().filter(|warm| warm.epoch == wanted.epoch) {
            Some(warm) => warm,
            None => Warm {
                consumer: shared
                    .replay_consumer()
                    .map_err(|error| unavailable("no consumer is to be had").with_source(error))?,
                epoch: wanted.epoch,
                used: Instant::now(),
            },
        };
        let reading = Reading {
            shared,
            consumer: &warm.consumer,
            wanted,
            until,
            gone,
        };
        match reading.page() {
            // A consumer that failed once may be deaf for good, so it is not used again.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                shared.end_aside(move || drop(warm));
                if shared.is_closed() {
                    return Err(closed());
                }
                if tries == TRIES || is_over(until, gone) {
                    return Err(error);
                }
                tracing::debug!(%error, "reading back with a new consumer");
            }
            answer => {
                *slot = Some(Warm {
                    used: Instant::now(),
                    ..warm
                });
                return answer;
            }
        }
    }
}

/// Returns true if there is no time for another try, or nobody waits for it.
fn is_over(until: Instant, gone: &AtomicBool) -> bool {
    gone.load(Ordering::Relaxed) || Instant::now() + STEP >= until
}

/// One try of one read, with one consumer.
struct Reading<'a> {
    shared: &'a Shared,
    consumer: &'a Consumer,
    wanted: &'a Wanted,
    until: Instant,
    gone: &'a AtomicBool,
}

/// What was read so far. `next` is the offset from which the page's follower would read.
struct Stretch {
    publications: Vec<Publication>,
    start: i64,
    next: i64,
    /// Where the log ended when the read began: there the read ends too.
    end: i64,
    records: usize,
    bytes: usize,
}

impl Reading<'_> {
    /// Reads the page: asks how far the log reaches, then reads from the start to that end.
    fn page(&self) -> Result<Page> {
        let topic = &self.shared.config.topic;
        let partition = self.wanted.partition;
        let (first, end) = self
            .consumer
            .fetch_watermarks(topic, partition, self.patience())
            .map_err(failed)?;
        let start = self.start(first, end)?;
        let mut stretch = Stretch {
            publications: Vec::new(),
            start,
            next: start,
            end,
            records: 0,
            bytes: 0,
        };
        if start < end && self.wanted.limit > 0 {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(start))
                .map_err(failed)?;
            client::assign(self.consumer, &list).map_err(failed)?;
            let read = self.scan(&mut stretch);
            // Else it would ask the broker for more all the time. By the next read's first answer nothing of this
            // one is left in its queue.
            client::unassign(self.consumer).map_err(failed)?;
            read?;
        }
        // The topic may have been replaced between two of these steps; what was read may be of
        // either log.
        if self.shared.layout().epoch != self.wanted.epoch {
            return Err(lost(LostPosition::OtherLog));
        }
        Ok(Page {
            publications: stretch.publications,
            upto: Some(record::position(self.wanted.epoch, partition, stretch.next)),
            more: stretch.next < end,
        })
    }

    /// How long to wait for one answer: no longer than the call has left.
    fn patience(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.clamp(STEP, PATIENCE)
    }

    /// Returns the offset to begin with, in a log that is kept from `first` and ends at `end`.
    fn start(&self, first: i64, end: i64) -> Result<i64> {
        match self.wanted.from {
            From::Oldest => Ok(first),
            From::After(next) if next < first => Err(lost(LostPosition::Trimmed)),
            From::After(next) if next > end => Err(lost(LostPosition::AheadOfEnd)),
            From::After(next) => Ok(next),
            From::Recent(age, most) => {
                let last = end.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX));
                let young = self.since(age)?.unwrap_or(end);
                Ok(young.max(last).clamp(first, end))
            }
        }
    }

    /// Returns the offset of the first record that is so young, by the records' timestamps; `None`
    /// if there is none.
    fn since(&self, age: Duration) -> Result<Option<i64>> {
        let since = SystemTime::now().checked_sub(age.saturating_add(CLOCKS));
        let since = since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
        let Some(since) = since else {
            return Ok(Some(0));
        };
        let mut asked = TopicPartitionList::new();
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        // In this question the time stands where an offset would (librdkafka's
        // `rd_kafka_offsets_for_times`).
        let time = Offset::Offset(since);
        asked
            .add_partition_offset(&self.shared.config.topic, self.wanted.partition, time)
            .map_err(failed)?;
        let answer = self.consumer.offsets_for_times(asked, self.patience());
        let answer = answer.map_err(failed)?;
        let Some(part) = answer.elements().pop() else {
            return Err(unavailable("no answer for the partition"));
        };
        part.error().map_err(failed)?;
        match part.offset() {
            Offset::Offset(offset) => Ok(Some(offset)),
            Offset::End => Ok(None),
            other => Err(unavailable(&format!("not an answer: {other:?}"))),
        }
    }

    /// Reads records until the page is full, the time is over, or the log's end is reached.
    fn scan(&self, stretch: &mut Stretch) -> Result<()> {
        let begun = Instant::now();
        let patience = self.patience();
        while !stretch.is_full(self.wanted.limit) {
            if self.shared.is_closed() {
                return Err(closed());
            }
            let (passed, moved) = (begun.elapsed(), stretch.next > stretch.start);
            if self.gone.load(Ordering::Relaxed) || (!moved && passed > patience) {
                return Err(unavailable("the broker sends no records"));
            }
            if moved && (passed > TIME || Instant::now() > self.until) {
                return Ok(());
            }
            match self.consumer.poll(STEP) {
                None => {}
                Some(Ok(record)) => stretch.take(&record, self.wanted),
                // What is left up to the end are holes: marks of transactions, or what they took back.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    stretch.ended(partition, self.wanted)
                }
                Some(Err(error)) if self.may_go_on(&error, stretch)? => {}
                Some(Err(_)) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Decides after an error. Returns true if reading may go on, and false if the page ends before
    /// what is wrong: the next page then begins there and says so.
    fn may_go_on(&self, error: &KafkaError, stretch: &Stretch) -> Result<bool> {
        let code = error.rdkafka_error_code();
        let trimmed = code == Some(RDKafkaErrorCode::AutoOffsetReset);
        if !trimmed && !failure::is_unreadable(code) {
            tracing::debug!(%error, "reading back");
            return Ok(true);
        }
        match (self.wanted.from, trimmed) {
            (From::After(_), _) if stretch.publications.is_empty() => Err(match trimmed {
                true => lost(LostPosition::Trimmed),
                false => unreadable("records after the position can't be read"),
            }),
            (From::Oldest | From::Recent(..), true) if stretch.next == stretch.start => {
                Err(unavailable("the log's start has moved just now"))
            }
            (From::Oldest | From::Recent(..), false) => {
                tracing::warn!(%error, "records can't be read; reading back passes over them");
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl Stretch {
    /// Returns true if the page ends here: by its limit, by what one call looks at, or at the log's
    /// end.
    fn is_full(&self, limit: usize) -> bool {
        self.next >= self.end
            || self.publications.len() >= limit
            || self.records >= RECORDS
            || self.bytes >= BYTES
    }

    /// Notes that the consumer has reached the end of a partition.
    fn ended(&mut self, partition: i32, wanted: &Wanted) {
        if partition == wanted.partition {
            self.next = self.end;
        }
    }

    /// Takes one record. Those left over from another read, and those of other channels, are passed
    /// over.
    fn take(&mut self, record: &BorrowedMessage<'_>, wanted: &Wanted) {
        if record.partition() != wanted.partition || record.offset() < self.next {
            return;
        }
        if record.offset() >= self.end {
            self.next = self.end;
            return;
        }
        self.next = record.offset() + 1;
        self.records += 1;
        self.bytes += record.key_len() + record.payload_len();
        let key = record.key();
        let other = |channel: &Channel| key != Some(channel.as_bytes());
        if !wanted.channel.as_ref().is_some_and(other) {
            self.publications
                .extend(record::publication(record, wanted.epoch));
        }
    }
}

/// Returns the error of a question that the broker did not answer.
fn failed(error: KafkaError) -> hubplane_backplane::Error {
    failure::failed(
        ErrorKind::Unavailable,
        "the log can't be read back now",
        error,
    )
}
