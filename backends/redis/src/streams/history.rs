//! Reads back what the streams hold, over connections of its own that are made when they are first
//! needed.
//!
//! Of its own, because a client that comes back after a day must not hold up live messages. A page
//! goes through the channel's stream and looks at every entry, whatever its channel; so it is
//! bounded by time, by entries and by bytes, and says in `more` whether there is more. It keeps no
//! state between calls but the connections.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{Channel, Error, ErrorKind, History, Page, Position, Result, Start};
use hubplane_kit::{limits, log_errors::LostPosition};
use redis::{RedisError, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

use super::{
    ask,
    backend::{STREAMS, renamed},
    config::Log,
    log::{self, Seen},
    message::{Message, decode},
};
use crate::{connection::Link, dial::Dialer, failure, publish::closing};

/// After this much of [`limits::CALL`] a page ends with what it has. The rest is for the answer
/// that is on its way then.
const READ: Duration = Duration::from_secs(2);
/// Entries after which a page ends, wanted or not.
const LOOKED_AT: usize = 200_000;
/// Entries in one answer, at least and at most, and about how many bytes it is to have: the count
/// follows the size of the messages.
const FEWEST: usize = 16;
const MOST: usize = 1_000;
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Reads at once, shared out among the parts: those that wait for a dead node must not hold up the others'.
const AT_ONCE: usize = 4;

/// The history of one instance; see [`History`] for what its calls promise.
pub(crate) struct Past {
    log: Arc<Log>,
    dialer: Arc<Dialer>,
    closed: watch::Receiver<bool>,
    /// One connection for each part, made when it is needed; and one count of reads for each.
    links: Mutex<Vec<Option<Arc<Link>>>>,
    turns: Vec<Semaphore>,
}

/// What a call asks for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    lane: u32,
    /// The only channel that is wanted; `None` for all channels of the lane.
    channel: Option<&'a Channel>,
    from: Option<Start>,
    limit: usize,
    /// When the page ends with what it has.
    until: Instant,
}

/// Returns the error for a position that can't be read from.
fn lost(why: LostPosition) -> Error {
    why.error(STREAMS)
}

#[async_trait]
impl History for Past {
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        let lane = self.log.keys.lane(channel);
        self.answer(Some(channel), lane, after.map(Start::After), limit)
            .await
    }

    async fn scan(&self, lane: u32, from: Start, limit: usize) -> Result<Page> {
        if lane >= self.log.keys.count() {
            return Err(lost(LostPosition::NoSuchLane));
        }
        self.answer(None, lane, Some(from), limit).await
    }
}

impl Past {
    /// Returns a history without connections.
    pub(crate) fn new(log: Arc<Log>, dialer: Arc<Dialer>, closed: watch::Receiver<bool>) -> Self {
        let parts = log.parts.len();
        let turn = || Semaphore::new(AT_ONCE.div_ceil(parts));
        // At least one turn for each part.
        let this = Self {
            turns: std::iter::repeat_with(turn).take(parts).collect(),
            log,
            dialer,
            closed,
            links: Mutex::default(),
        };
        this.close();
        this
    }

    /// Cuts the connections. Reads that are under way are ended by the closed instance.
    pub(crate) fn close(&self) {
        *self.links() = self.log.parts.iter().map(|_| None).collect();
    }

    fn links(&self) -> MutexGuard<'_, Vec<Option<Arc<Link>>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one call within its time, whatever Redis does.
    async fn answer(
        &self,
        channel: Option<&Channel>,
        lane: u32,
        from: Option<Start>,
        limit: usize,
    ) -> Result<Page> {
        let start = Instant::now();
        let mut closed = self.closed.clone();
        let wanted = Wanted {
            lane,
            channel,
            from,
            limit,
            until: start + READ,
        };
        let page = tokio::select! {
            // A closed instance answers at once, also when a page is ready.
            biased;
            () = closing(&mut closed) => Err(failure::closed()),
            page = timeout_at(start + limits::CALL, self.look(wanted)) => page.unwrap_or_else(|_elapsed| {
                // A connection on which an answer is late would give the next call this one's
                // answer, late as well.
                self.links()[self.log.part_of(lane)] = None;
                Err(failure::unavailable("Redis answers too slowly"))
            }),
        };
        page.map_err(renamed)
    }

    /// Waits for its turn, and reads a page over the part's connection; over a new one if that one
    /// can no longer be used.
    async fn look(&self, wanted: Wanted<'_>) -> Result<Page> {
        let part = self.log.part_of(wanted.lane);
        let _turn = self.turns[part].acquire().await;
        let open = self.links()[part].clone();
        // The lock is not held while a page is read: several reads share a connection.
        if let Some(link) = open {
            match self.page(&link, wanted).await {
                // The connection may have broken long ago, unseen. What counts is the answer on a
                // new one.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                page => return page,
            }
        }
        let slot = self.log.parts[part].slot;
        let link = Arc::new(self.dialer.dial(slot, None).await?);
        self.links()[part] = Some(Arc::clone(&link));
        let page = self.page(&link, wanted).await;
        // A lost position says nothing against the connection; any other error may.
        if matches!(&page, Err(error) if error.kind() != ErrorKind::PositionLost) {
            self.links()[part] = None;
        }
        page
    }

    /// Reads stretch after stretch until the page is ready.
    async fn page(&self, link: &Link, wanted: Wanted<'_>) -> Result<Page> {
        let failed = |error| failure::of_log(&link.node, &self.log.server, error);
        let mut connection = link.connection.clone();
        let mut reading = Reading::begin(&mut connection, wanted)
            .await
            .map_err(failed)?;
        loop {
            let count = reading.count;
            // Each stretch is asked for with the token, so that a log that is replaced in the
            // middle is noticed.
            let key = self.log.keys.of(wanted.lane);
            let seen = ask::range(&mut connection, key, &reading.start(), count).await;
            if reading.add(seen.map_err(failed)?)? {
                return Ok(reading.page);
            }
        }
    }
}

/// A page in the making.
struct Reading<'a> {
    wanted: Wanted<'a>,
    /// The log that it reads; `None` until the first answer, if the call names no position.
    epoch: Option<u64>,
    /// The entry that was looked at last, or the position of the call.
    after: Option<u128>,
    /// Where to begin without `after`, in milliseconds.
    since: u64,
    /// How many entries to ask for next.
    count: usize,
    looked_at: usize,
    bytes: usize,
    page: Page,
}

impl<'a> Reading<'a> {
    /// Finds out where to begin. An age counts back from Redis's own clock, because that gives the
    /// entries their ids.
    async fn begin(
        connection: &mut MultiplexedConnection,
        wanted: Wanted<'a>,
    ) -> Result<Self, RedisError> {
        let (mut after, mut epoch, mut since) = (None, None, 0);
        match wanted.from {
            Some(Start::After(position)) => {
                after = Some(position.offset);
                // A position of another lane is of another log: with its epoch inverted it fits
                // none.
                let own = position.lane == wanted.lane;
                epoch = Some(if own { position.epoch } else { !position.epoch });
            }
            Some(Start::Recent { age, .. }) => {
                let (seconds, micros): (u64, u64) = cmd("TIME").query_async(connection).await?;
                let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                since = (seconds * 1_000 + micros / 1_000).saturating_sub(age);
            }
            None => {}
        }
        Ok(Self {
            wanted,
            epoch,
            after,
            since,
            count: wanted.limit.clamp(FEWEST, 100),
            looked_at: 0,
            bytes: 0,
            page: Page {
                publications: Vec::new(),
                upto: None,
                more: false,
            },
        })
    }

    /// Returns where the next stretch begins, as XRANGE takes it.
    fn start(&self) -> String {
        match self.after {
            Some(after) => format!("({}", log::id_text(after)),
            None => format!("{}-0", self.since),
        }
    }

    /// Takes one stretch into the page. Returns true if the page is ready. An error on the first
    /// stretch is the call's; later ones only end the page, since what it has is right.
    fn add(&mut self, seen: Seen) -> Result<bool> {
        let begun = self.looked_at > 0;
        if let Err(error) = self.check(&seen) {
            // Cut off or replaced in the middle of the page: the call for the next page is told.
            self.page.more = begun;
            return if begun { Ok(true) } else { Err(error) };
        }
        let lane = self.wanted.lane;
        let epoch = seen.token.as_deref().map(log::epoch).unwrap_or_default();
        let position = |offset| Position {
            epoch,
            lane,
            offset,
        };
        self.epoch = Some(epoch);
        self.page.upto = self.after.map(position);
        let (full, mut size) = (seen.entries.len() >= self.count, 0);
        for entry in seen.entries {
            if self.page.publications.len() >= self.wanted.limit {
                self.page.more = true;
                return Ok(true);
            }
            let at = position(entry.id);
            let bytes = entry.size();
            size += bytes;
            self.looked_at += 1;
            self.after = Some(entry.id);
            self.page.upto = Some(at);
            if let Message::Publication(publication) = decode(entry, at)
                && self
                    .wanted
                    .channel
                    .is_none_or(|channel| *channel == publication.channel)
            {
                self.bytes += bytes;
                self.page.publications.push(publication);
            }
        }
        // The end of the stream: the page reaches as far as the last id, which outlives its entry.
        // On an empty stream that was never written to there is no such place.
        if !full {
            if seen.info.added > 0 {
                self.page.upto = Some(position(seen.info.last));
            }
            return Ok(true);
        }
        // As many as fit by the size of the last ones, and at most twice as many as before.
        let fits = ANSWER_BYTES / (size / self.count).max(1);
        self.count = (self.count * 2).min(fits).clamp(FEWEST, MOST);
        self.page.more = self.page.publications.len() >= self.wanted.limit
            || self.looked_at >= LOOKED_AT
            || self.bytes >= limits::PAGE_BYTES
            || Instant::now() >= self.wanted.until;
        // The bounds were met right at the end: nothing follows.
        if self.page.more && self.after == Some(seen.info.last) {
            self.page.more = false;
            return Ok(true);
        }
        Ok(self.page.more)
    }

    /// Returns an error if the stretch does not follow what was read: the log is another one, or
    /// lacks something.
    fn check(&self, seen: &Seen) -> Result<()> {
        let Some(token) = &seen.token else {
            return Err(match self.after {
                Some(_) => lost(LostPosition::Deleted),
                None => failure::unavailable("the log is being replaced"),
            });
        };
        if self.epoch.is_some_and(|epoch| epoch != log::epoch(token)) {
            return Err(lost(LostPosition::OtherLog));
        }
        match self.after {
            Some(after) if after > seen.info.last => Err(lost(LostPosition::AheadOfEnd)),
            Some(after) if !seen.info.reaches(after) => Err(lost(LostPosition::Trimmed)),
            _ => Ok(()),
        }
    }
}
