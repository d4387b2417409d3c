//! What the window no longer has: read from the broker's log, for subscriptions and for those who
//! ask for a history.
//!
//! `queue.rs` decides whose turn it is, and `scan.rs` reads for all who wait in a lane. A history
//! is read for one caller alone, whose request waits meanwhile; `paging.rs` decides how. Before anything is read from a
//! client's position, the message there is compared with the position's fingerprint: a log that was
//! rolled back must not pass for the old one.

mod gathering;
mod lookup;
mod paging;
mod queue;
mod scan;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{Channel, Error, ErrorKind, History, Page, Position, Result, Start};
use tokio::{task::JoinSet, time::timeout};

pub(super) use self::queue::{RecoveryQueue, RecoveryRequest};
use self::{
    lookup::Lookup,
    paging::{Paging, last_place},
    scan::Scan,
};
use super::{
    Hub, RESERVED,
    message::Message,
    position::ClientPosition,
    sabotage,
    window::{ReadLimit, WindowRead},
};

/// How many lanes are read at once for subscriptions.
const AT_ONCE: usize = 8;
/// Longer than any log is kept: ten years. Reading from there means reading from the oldest
/// message.
const AGES: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// How long a page of history may take to be read.
const LIMIT: Duration = Duration::from_secs(10);

/// One page of a channel's past.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Everything up to this position is in the page: what to give as `after` for the next one.
    pub upto: Option<ClientPosition>,
    /// True if there is more now.
    pub more: bool,
}

/// Reads what subscriptions missed, up to [`AT_ONCE`] lanes at a time, for as long as the hub
/// lives.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let request = hub.reads().next().await;
        let hub = Arc::clone(&hub);
        under_way.spawn(async move {
            let _turn = hub.reads().turn_of(&request);
            Scan::new(&hub, request).run().await;
        });
    }
}

impl Hub {
    /// Returns up to `limit` of a channel's messages after a position, or from the oldest that the
    /// broker keeps. The page may be shorter, since it ends at about `history_bytes` of data.
    ///
    /// # Errors
    /// `Rejected` on a backend without a history, `PositionLost` if the position can't be trusted
    /// any more, `Unavailable` if the broker is away or takes more than 10 s, `Closed`.
    pub async fn past(
        &self,
        channel: &Channel,
        after: Option<ClientPosition>,
        limit: usize,
    ) -> Result<HistoryPage> {
        // The window first, which spares the broker.
        if let Some(after) = after {
            let cap = ReadLimit {
                messages: limit,
                bytes: self.limits().history_bytes,
            };
            let in_lane = self.lane(channel) == Some(after.lane);
            let window = self.log().window();
            match window.read(channel, after, None, cap) {
                WindowRead::All(entries) if in_lane => {
                    let messages: Vec<_> = entries
                        .iter()
                        .map(|entry| entry.encoded().message().clone())
                        .collect();
                    let upto = window.head(after.lane).or(Some(after));
                    return Ok(HistoryPage {
                        messages,
                        upto,
                        more: false,
                    });
                }
                _ => {}
            }
        }
        let late = |_| Error::new(ErrorKind::Unavailable, "hub", "the log is read too slowly");
        timeout(LIMIT, self.read_log(channel, after, limit))
            .await
            .map_err(late)?
    }

    /// Reads a page from the broker's log.
    async fn read_log(
        &self,
        channel: &Channel,
        after: Option<ClientPosition>,
        limit: usize,
    ) -> Result<HistoryPage> {
        let Some(history) = self.backplane().history() else {
            let message = "this backend keeps no history; `hubplane backends` shows which do";
            return Err(Error::new(ErrorKind::Rejected, "hub", message));
        };
        let lost = |what| Err(Error::new(ErrorKind::PositionLost, "hub", what));
        if channel.starts_with(RESERVED) {
            return lost("there is no such channel");
        }
        let Some(lane) = self.lane(channel) else {
            return lost("the channel is in no lane");
        };
        // A position means nothing in another lane, nor where other messages of the channel went
        // elsewhere.
        if let Some(after) = after {
            if after.lane != lane {
                return lost("the position is of another channel's lane");
            }
            if !self.log().window().placements().is_alone(channel, lane) {
                return lost("the channel has messages in several lanes");
            }
            if !self.recognises(history, after).await? {
                return lost("another message is at the position: the log was rolled back");
            }
        }
        let at = after.map(|after| self.log().to_backend(after));
        let limit = ReadLimit {
            messages: limit,
            bytes: self.limits().history_bytes,
        };
        let mut paging = Paging::new(after, at, limit);
        while let Some(most) = paging.next() {
            self.counts().history_reads.fetch_add(1, Ordering::Relaxed);
            let read = self
                .read_page(history, (channel, lane), paging.at(), most)
                .await?;
            let place = |at, of| self.log().place(at, of);
            paging.take(read, place, |it| self.log().read_back(it));
        }
        let at = paging.at();
        let mut page = paging.into_page();
        if let Some(at) = at {
            let end = self.log().to_client(at);
            let known = self.log().window().place(at.lane, at.offset);
            page.upto = Some(last_place(end, known, page.upto));
        }
        Ok(page)
    }

    /// Reads once. A channel that other programs publish in a foreign lane is looked for in that
    /// lane.
    async fn read_page(
        &self,
        history: &dyn History,
        (channel, lane): (&Channel, u32),
        after: Option<Position>,
        most: usize,
    ) -> Result<Page> {
        if self.backplane().lane(channel) == Some(lane) {
            return history.read(channel, after, most).await;
        }
        let from = after.map_or(Start::since(AGES), Start::After);
        let mut page = history.scan(lane, from, most).await?;
        page.publications.retain(|it| it.channel == *channel);
        Ok(page)
    }

    /// Returns true if the message that the client means is at its position. Asks the window first,
    /// and only then the log.
    pub(super) async fn recognises(
        &self,
        history: &dyn History,
        position: ClientPosition,
    ) -> Result<bool> {
        if let Some(known) = self.log().window().recognises(position) {
            return Ok(known);
        }
        if sabotage::trusts_positions() {
            return Ok(true);
        }
        let mut lookup = Lookup::new(position, self.log().to_backend(position));
        loop {
            self.counts().history_reads.fetch_add(1, Ordering::Relaxed);
            let page = history.scan(position.lane, lookup.from(), 1).await?;
            if let Some(known) = lookup.take(&page) {
                return Ok(known);
            }
        }
    }
}
