//! Reads back what the stream holds, over a connection of its own that is made when it is first
//! needed.
//!
//! Of its own, because what the broker sends ahead to a client that comes back must not stand in
//! front of live messages. All channels are in one stream, so a read looks at every message; it is
//! bounded by time, by messages and by bytes, and says in `more` whether there is more. It keeps no
//! state between calls but the connection.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use hubplane_backplane::{Channel, Error, ErrorKind, History, Page, Position, Result, Start};
use hubplane_kit::{limits, log_errors::LostPosition};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

use super::{
    cursor::{Cursor, From},
    error::{STREAMS, renamed},
    known::{Known, LANE},
    log,
};
use crate::{
    link::{Link, explain},
    message::received,
    shared::Shared,
};

/// After this much of [`limits::CALL`] a page ends with what it has.
const READ: Duration = Duration::from_secs(3);
/// Messages after which a page ends, wanted or not.
const LOOKED_AT: u64 = 50_000;
/// Reads at once; each holds what the broker sends ahead.
const AT_ONCE: usize = 4;

/// The history of one instance; see [`History`] for what its calls promise.
#[derive(Debug)]
pub(crate) struct Past {
    shared: Arc<Shared>,
    /// What the receiving task knows of the log.
    known: watch::Receiver<Known>,
    link: Mutex<Option<Arc<Link>>>,
    turn: Semaphore,
}

/// What a call asks for.
struct Wanted<'a> {
    /// The only channel that is wanted; `None` for all of them.
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
        self.look(Some(channel), after.map(Start::After), limit)
            .await
    }

    async fn scan(&self, lane: u32, from: Start, limit: usize) -> Result<Page> {
        if lane != LANE {
            return Err(lost(LostPosition::NoSuchLane));
        }
        self.look(None, Some(from), limit).await
    }
}

impl Past {
    /// Returns a history without a connection.
    pub(crate) fn new(shared: Arc<Shared>, known: watch::Receiver<Known>) -> Self {
        Self {
            shared,
            known,
            link: Mutex::new(None),
            turn: Semaphore::new(AT_ONCE),
        }
    }

    /// Cuts the connection, and refuses the calls that wait for their turn.
    pub(crate) fn close(&self) {
        self.turn.close();
        *self.locked() = None;
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one call within its time, whatever the broker does.
    async fn look(
        &self,
        channel: Option<&Channel>,
        from: Option<Start>,
        limit: usize,
    ) -> Result<Page> {
        let start = Instant::now();
        let looked = timeout_at(start + limits::CALL, async {
            let _turn = self.turn.acquire().await.map_err(|ended| {
                Error::new(ErrorKind::Closed, STREAMS, "the backend is closed").with_source(ended)
            })?;
            // While the reader is away, the log may be replaced without anybody having noticed: its
            // epoch is not to be trusted.
            if !self.known.borrow().up {
                let away = "RabbitMQ is away";
                return Err(Error::new(ErrorKind::Unavailable, STREAMS, away));
            }
            let link = self.link().await?;
            let wanted = Wanted {
                channel,
                from,
                limit,
                until: start + READ,
            };
            let page = self.page(&link, wanted).await;
            if let Err(error) = &page
                && error.kind() != ErrorKind::PositionLost
            {
                *self.locked() = None;
            }
            page
        });
        match looked.await {
            Ok(page) => page.map_err(renamed),
            Err(_) => {
                *self.locked() = None;
                let slow = "RabbitMQ answers too slowly";
                Err(Error::new(ErrorKind::Unavailable, STREAMS, slow))
            }
        }
    }

    /// Returns the connection, to the node that the instance uses; makes a new one if there is
    /// none.
    async fn link(&self) -> Result<Arc<Link>> {
        let node = self.shared.nodes.used();
        let open = self.locked().clone();
        if let Some(link) = open.filter(|link| link.node == node) {
            return Ok(link);
        }
        let new = Arc::new(Link::dial_node(&self.shared.config, node, "history").await?);
        if !self.shared.is_stopped() {
            *self.locked() = Some(Arc::clone(&new));
        }
        Ok(new)
    }

    /// Returns where to begin, and where the log ends. An error says why the position can't be read
    /// from.
    async fn bounds(&self, link: &Link, from: Option<Start>) -> Result<(From, Known)> {
        let mut known = *self.known.borrow();
        let position = match from {
            None => return Ok((From::First, known)),
            Some(Start::Recent { age, .. }) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let then = now.unwrap_or_default().saturating_sub(age);
                return Ok((From::Time(then.as_secs()), known));
            }
            Some(Start::After(position)) => position,
        };
        if position.epoch != known.epoch || position.lane != LANE {
            return Err(lost(LostPosition::OtherLog));
        }
        let offset = u64::try_from(position.offset).unwrap_or(u64::MAX);
        if offset >= known.next {
            // This instance's reading may be behind the one that gave the position.
            known.next = log::end(link, &self.shared.config, known.epoch).await?;
            if offset > known.next {
                return Err(lost(LostPosition::AheadOfEnd));
            }
        }
        Ok((From::Offset(offset + 1), known))
    }

    /// Reads until the page is full, the log ends, or a bound is met.
    async fn page(&self, link: &Link, wanted: Wanted<'_>) -> Result<Page> {
        let Wanted {
            channel,
            from,
            limit,
            until,
        } = wanted;
        let config = &self.shared.config;
        let failed = |error| explain(config, "reading back (permission read)", error);
        let (from, known) = self.bounds(link, from).await?;
        let mut page = Page {
            publications: Vec::new(),
            upto: None,
            more: false,
        };
        // The offset that must come first, if the call names a position. Another one is a hole,
        // which has to be explained.
        let mut expected = None;
        if let From::Offset(next) = from {
            expected = Some(next);
            page.upto = next.checked_sub(1).map(|offset| known.position(offset));
            // At the end already; a cursor would wait for messages that nobody has published.
            if next >= known.next {
                return Ok(page);
            }
        }
        let mut cursor = Cursor::open(link, &log::name(config), from)
            .await
            .map_err(failed)?;
        let (mut looked_at, mut bytes) = (0, 0);
        page.more = loop {
            if page.publications.len() >= limit
                || looked_at >= LOOKED_AT
                || bytes >= limits::PAGE_BYTES
            {
                break true;
            }
            let (offset, delivery) = match timeout_at(until, cursor.next()).await {
                Ok(Some(Ok(found))) => found,
                Ok(Some(Err(error))) => return Err(failed(error)),
                Ok(None) => return Err(lost(LostPosition::Deleted)),
                // From an age, there may be nothing so young.
                Err(_) => break looked_at > 0 || expected.is_some(),
            };
            // The broker's own entries take offsets, too; only the oldest message tells whether
            // something was cut off.
            if expected.take().is_some_and(|expected| offset > expected)
                && self.trimmed(link, &page).await?
            {
                return Err(lost(LostPosition::Trimmed));
            }
            if offset >= known.next {
                break false;
            }
            looked_at += 1;
            page.upto = Some(known.position(offset));
            let wanted = channel.is_none_or(|channel| **channel == *delivery.routing_key.as_str());
            if wanted && !log::is_marker(&delivery, config) {
                let mut publication = received(delivery);
                publication.position = page.upto;
                bytes += publication.data.len();
                page.publications.push(publication);
            }
            if offset + 1 >= known.next {
                break false;
            }
        };
        cursor.close().await;
        Ok(page)
    }

    /// Returns true if the oldest message that is kept lies behind where the page was to begin.
    async fn trimmed(&self, link: &Link, page: &Page) -> Result<bool> {
        let first = log::first(link, &self.shared.config).await?;
        let after = page.upto.map(|position| position.offset);
        Ok(after.is_some_and(|after| u128::from(first) > after + 1))
    }
}
