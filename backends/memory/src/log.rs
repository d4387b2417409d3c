//! The log that instances share: a ring of messages, bounded by number and by bytes. It knows no instance; each keeps
//! its own place and is woken when the end moves.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
};

use hubplane_backplane::{Channel, Error, ErrorKind, Outgoing, Position, Publication, Result};
use tokio::sync::watch;

use crate::{NAME, config::Config};

/// Messages that a log keeps if no address says otherwise.
pub(crate) const MAX_MESSAGES: usize = 100_000;
/// Bytes that a log keeps if no address says otherwise: 64 MiB.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a kept message costs beside its own bytes, roughly: its entry in the ring and its allocations.
const OVERHEAD: usize = 128;

/// The open logs that have a name. They are held weakly: a log ends with its last instance.
static NAMED: LazyLock<Mutex<HashMap<String, Weak<Log>>>> = LazyLock::new(Mutex::default);

/// A bounded log that any number of instances of this process read, each at its own pace.
#[derive(Debug)]
pub(crate) struct Log {
    /// Random, so that a position of an earlier log is never taken for one of this log.
    epoch: u64,
    max_messages: usize,
    max_bytes: usize,
    ring: Mutex<Ring>,
    /// The last offset that was appended; instances wait here for more.
    end: watch::Sender<u64>,
}

/// What is kept: offsets `first..first + kept.len()`, counted from 1.
#[derive(Debug)]
struct Ring {
    kept: VecDeque<Publication>,
    bytes: usize,
    first: u64,
}

/// The result of one look at the log, after a given offset.
pub(crate) struct Stretch {
    /// Those of the wanted channel, oldest first.
    pub(crate) publications: Vec<Publication>,
    /// The last offset looked at; the next look begins after it.
    pub(crate) upto: u64,
    /// True if messages after the given offset are no longer kept: there is a hole before `publications`.
    pub(crate) trimmed: bool,
    /// True if the log ends at `upto`; otherwise there is more to look at.
    pub(crate) at_end: bool,
}

impl Log {
    /// Returns the log of an address: the open one of its name, or a new one.
    ///
    /// `Config` if the open log has other limits than the address states: which of the two counted would depend on who
    /// came first.
    pub(crate) fn of(config: Config) -> Result<Arc<Self>> {
        let Some(name) = config.name else {
            return Self::new(config.max_messages, config.max_bytes);
        };
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        // Names of logs that ended are forgotten here, so the map never holds more than the open logs and those that
        // ended since.
        named.retain(|_, log| log.strong_count() > 0);
        let Some(log) = named.get(&name).and_then(Weak::upgrade) else {
            let log = Self::new(config.max_messages, config.max_bytes)?;
            named.insert(name, Arc::downgrade(&log));
            return Ok(log);
        };
        let differs = |stated: Option<usize>, is: usize| stated.is_some_and(|stated| stated != is);
        if differs(config.max_messages, log.max_messages)
            || differs(config.max_bytes, log.max_bytes)
        {
            return Err(Error::new(
                ErrorKind::Config,
                NAME,
                format!(
                    "memory://{name} is open with max-messages={} and max-bytes={}; state the same or neither",
                    log.max_messages, log.max_bytes
                ),
            ));
        }
        Ok(log)
    }

    fn new(max_messages: Option<usize>, max_bytes: Option<usize>) -> Result<Arc<Self>> {
        let epoch = getrandom::u64().map_err(|error| {
            Error::new(
                ErrorKind::Config,
                NAME,
                "this system gives no random numbers",
            )
            .with_source(error)
        })?;
        Ok(Arc::new(Self {
            epoch,
            max_messages: max_messages.unwrap_or(MAX_MESSAGES),
            max_bytes: max_bytes.unwrap_or(MAX_BYTES),
            ring: Mutex::new(Ring {
                kept: VecDeque::new(),
                bytes: 0,
                first: 1,
            }),
            end: watch::Sender::new(0),
        }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the position of an offset of this log. Offset 0 is before the first message.
    pub(crate) fn position(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            lane: 0,
            offset: offset.into(),
        }
    }

    /// Returns the offset of a position. `None` if the position is of another log, or ahead of the end.
    pub(crate) fn offset(&self, position: Position) -> Option<u64> {
        let offset = u64::try_from(position.offset).ok()?;
        (position == self.position(offset) && offset <= *self.end.borrow()).then_some(offset)
    }

    /// Returns a receiver that is woken at each new end; `borrow` shows the present one.
    pub(crate) fn ends(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Appends a batch in one step, so that no other message comes in between, and forgets the oldest messages over the
    /// limits. Returns the position of each message.
    pub(crate) fn append(&self, batch: impl Iterator<Item = Outgoing>) -> Vec<Position> {
        let mut ring = self.ring();
        let mut places = Vec::with_capacity(batch.size_hint().0);
        for outgoing in batch {
            let position = self.position(ring.first + ring.kept.len() as u64);
            let publication = Publication {
                channel: outgoing.channel,
                data: outgoing.data,
                position: Some(position),
                id: outgoing.id,
                origin: outgoing.origin,
                tags: outgoing.tags,
            };
            ring.bytes += weight(&publication);
            ring.kept.push_back(publication);
            places.push(position);
            while ring.kept.len() > self.max_messages || ring.bytes > self.max_bytes {
                let Some(oldest) = ring.kept.pop_front() else {
                    break;
                };
                ring.bytes -= weight(&oldest);
                ring.first += 1;
            }
        }
        if !places.is_empty() {
            // Still under the lock of the ring, so that the end never goes back.
            self.end
                .send_replace(ring.first + ring.kept.len() as u64 - 1);
        }
        places
    }

    /// Looks at up to `limit` messages after the offset `after`, and copies those of `channel`, or all of them.
    pub(crate) fn look(&self, after: u64, channel: Option<&Channel>, limit: usize) -> Stretch {
        let ring = self.ring();
        // The first offset that can be looked at: the log may no longer reach back to `after`.
        let from = (after + 1).max(ring.first);
        let skip = usize::try_from(from - ring.first)
            .unwrap_or(usize::MAX)
            .min(ring.kept.len());
        let seen = (ring.kept.len() - skip).min(limit);
        let wanted = |p: &&Publication| channel.is_none_or(|channel| *channel == p.channel);
        Stretch {
            publications: ring
                .kept
                .range(skip..skip + seen)
                .filter(wanted)
                .cloned()
                .collect(),
            upto: from - 1 + seen as u64,
            trimmed: from > after + 1,
            at_end: skip + seen == ring.kept.len(),
        }
    }
}

/// What a message counts against `max-bytes`.
fn weight(publication: &Publication) -> usize {
    let tags = publication
        .tags
        .iter()
        .map(|(name, value)| name.len() + value.len());
    OVERHEAD + publication.channel.len() + publication.data.len() + tags.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max_messages: usize, max_bytes: usize) -> Arc<Log> {
        Log::new(Some(max_messages), Some(max_bytes)).unwrap()
    }

    fn fill(log: &Log, count: usize) -> Vec<Position> {
        log.append((0..count).map(|_| Outgoing::new("c", vec![0; 100])))
    }

    #[test]
    fn the_ring_is_bounded_by_count_and_by_bytes() {
        for log in [
            log(10, usize::MAX),
            log(usize::MAX, 10 * (OVERHEAD + 1 + 100)),
        ] {
            let places = fill(&log, 25);
            assert_eq!(places.last(), Some(&log.position(25)));
            let stretch = log.look(0, None, 100);
            assert_eq!(
                (stretch.publications.len(), stretch.trimmed, stretch.at_end),
                (10, true, true)
            );
            assert!(!log.look(15, None, 100).trimmed);
        }
    }

    #[test]
    fn a_look_stops_at_its_limit() {
        let log = log(100, usize::MAX);
        fill(&log, 10);
        let stretch = log.look(2, None, 3);
        assert_eq!(
            (stretch.publications.len(), stretch.upto, stretch.at_end),
            (3, 5, false)
        );
        let other = log.look(0, Some(&"other".into()), 100);
        assert_eq!(
            (other.publications.len(), other.upto, other.at_end),
            (0, 10, true)
        );
    }

    #[test]
    fn foreign_and_future_positions_have_no_offset() {
        let log = log(10, usize::MAX);
        fill(&log, 1);
        assert_eq!(log.offset(log.position(1)), Some(1));
        assert_eq!(log.offset(log.position(2)), None);
        assert_eq!(
            log.offset(Position {
                lane: 1,
                ..log.position(1)
            }),
            None
        );
        assert_eq!(
            log.offset(Position {
                epoch: !log.epoch,
                ..log.position(1)
            }),
            None
        );
        assert_eq!(
            log.offset(Position {
                offset: u128::MAX,
                ..log.position(1)
            }),
            None
        );
    }

    #[test]
    fn a_name_means_one_log_with_one_setting() {
        let config = |max_messages| Config {
            name: Some("log-test".into()),
            max_messages,
            max_bytes: None,
        };
        let first = Log::of(config(Some(7))).unwrap();
        assert!(Arc::ptr_eq(&first, &Log::of(config(None)).unwrap()));
        assert_eq!(
            Log::of(config(Some(8))).unwrap_err().kind(),
            ErrorKind::Config
        );
        let epoch = first.epoch;
        drop(first);
        assert_ne!(Log::of(config(Some(8))).unwrap().epoch, epoch);
    }
}
