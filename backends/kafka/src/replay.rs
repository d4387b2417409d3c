//! The consumer that reads back. It is kept warm between reads, assigned to nothing, and given up after a fault, for
//! another log, or when it was not asked for a while.

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
    client::Consumer,
    failure,
    failure::closed,
    failure::{lost, unavailable, unreadable},
    record,
    shared::Shared,
    slot::Warm,
};

/// What one call looks at, at the most; then the page ends early.
const RECORDS: usize = 200_000;
const BYTES: usize = 64 * 1024 * 1024;
const TIME: Duration = Duration::from_secs(2);
/// For an answer, or the first record, from a consumer that may be deaf; then a new one is made.
const PATIENCE: Duration = Duration::from_millis(1_200);
const TRIES: u32 = 3;
/// How often this checks whether anybody still waits for the page.
const STEP: Duration = Duration::from_millis(50);
/// By so much an age reaches back further: the clocks of publishers differ.
const CLOCKS: Duration = Duration::from_secs(1);

/// What is to be read.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) partition: i32,
    /// All channels where it is `None`.
    pub(crate) channel: Option<Channel>,
    pub(crate) from: From,
    pub(crate) limit: usize,
    pub(crate) epoch: u64,
}

/// Where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Oldest,
    /// At this offset, which must be in the log.
    After(i64),
    /// So young, and of them the last so many.
    Recent(Duration, usize),
}

/// Reads a page. Blocks, until `until` at the latest.
pub(crate) fn read(
    shared: &Shared,
    wanted: &Wanted,
    until: Instant,
    gone: &AtomicBool,
) -> Result<Page> {
    let mut slot = shared.replay.locked();
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

fn is_over(until: Instant, gone: &AtomicBool) -> bool {
    gone.load(Ordering::Relaxed) || Instant::now() + STEP >= until
}

/// One try of one read.
struct Reading<'a> {
    shared: &'a Shared,
    consumer: &'a Consumer,
    wanted: &'a Wanted,
    until: Instant,
    gone: &'a AtomicBool,
}

/// What was read so far.
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
            self.consumer.assign(&list).map_err(failed)?;
            let read = self.scan(&mut stretch);
            // Else it would ask the broker for more all the time. By the next read's first answer nothing of this
            // one is left in its queue.
            self.consumer.unassign().map_err(failed)?;
            read?;
        }
        if self.shared.layout().epoch != self.wanted.epoch {
            return Err(lost(LostPosition::OtherLog));
        }
        Ok(Page {
            publications: stretch.publications,
            upto: Some(record::position(self.wanted.epoch, partition, stretch.next)),
            more: stretch.next < end,
        })
    }

    fn patience(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.clamp(STEP, PATIENCE)
    }

    /// The offset to begin with, in a log that is kept from `first` and ends at `end`.
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

    /// The first record that is so young; `None` if there is none.
    fn since(&self, age: Duration) -> Result<Option<i64>> {
        let since = SystemTime::now().checked_sub(age.saturating_add(CLOCKS));
        let since = since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
        let Some(since) = since else {
            return Ok(Some(0));
        };
        let mut asked = TopicPartitionList::new();
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        // Stands where an offset would.
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

    /// Returns false if the page ends before what is wrong; the next page begins there and says so.
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
    fn is_full(&self, limit: usize) -> bool {
        self.next >= self.end
            || self.publications.len() >= limit
            || self.records >= RECORDS
            || self.bytes >= BYTES
    }

    fn ended(&mut self, partition: i32, wanted: &Wanted) {
        if partition == wanted.partition {
            self.next = self.end;
        }
    }

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

fn failed(error: KafkaError) -> hubplane_backplane::Error {
    failure::failed(
        ErrorKind::Unavailable,
        "the log can't be read back now",
        error,
    )
}
