//! What the window no longer has: read from the broker's log, for subscriptions and for those who ask for a history.

mod queue;
mod scan;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{Channel, Error, ErrorKind, Result};
use tokio::{task::JoinSet, time::timeout};

pub(super) use self::queue::{RecoveryQueue, RecoveryRequest};
use self::scan::Scan;
use super::{
    Hub, RESERVED,
    message::Message,
    position::ClientPosition,
    window::{ReadLimit, WindowRead},
};

/// Readings of the broker's log at once.
const AT_ONCE: usize = 8;
/// Messages of one read.
const PAGE: usize = 1_000;
/// How long a history may take to be read.
const LIMIT: Duration = Duration::from_secs(10);

/// A stretch of a channel's past.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Everything up to here is in it: what to give as `after` for the next.
    pub upto: Option<ClientPosition>,
    /// Whether there is more now.
    pub more: bool,
}

/// Reads what subscriptions missed, a few lanes at a time, for as long as the hub lives.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let request = hub.reads.next().await;
        let session = request.session();
        let hub = Arc::clone(&hub);
        under_way.spawn(async move {
            Scan::new(&hub, request).run().await;
            hub.reads.served(session);
        });
    }
}

impl Hub {
    /// Up to `limit` of a channel's messages after a position, or from the oldest that the broker keeps.
    ///
    /// # Errors
    /// `Rejected` on a backend without a history, `PositionLost`, `Unavailable`, `Closed`.
    pub async fn past(
        &self,
        channel: &Channel,
        after: Option<ClientPosition>,
        limit: usize,
    ) -> Result<HistoryPage> {
        if let Some(after) = after {
            let cap = ReadLimit {
                messages: limit,
                bytes: usize::MAX,
            };
            let in_lane = self.backplane.lane(channel) == Some(after.lane);
            let window = self.log.window();
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

    async fn read_log(
        &self,
        channel: &Channel,
        after: Option<ClientPosition>,
        limit: usize,
    ) -> Result<HistoryPage> {
        let Some(history) = self.backplane.history() else {
            let message = "this backend keeps no history; `hubplane backends` shows which do";
            return Err(Error::new(ErrorKind::Rejected, "hub", message));
        };
        let lost = |what| Err(Error::new(ErrorKind::PositionLost, "hub", what));
        if channel.starts_with(RESERVED) {
            return lost("there is no such channel");
        }
        if let Some(after) = after
            && self.backplane.lane(channel) != Some(after.lane)
        {
            return lost("the position is of another channel's lane");
        }
        let mut stretch = HistoryPage {
            messages: Vec::new(),
            upto: after,
            more: true,
        };
        let mut at = after.map(|after| self.log.to_backend(after));
        while stretch.more && stretch.messages.len() < limit {
            self.counts.history_reads.fetch_add(1, Ordering::Relaxed);
            let most = (limit - stretch.messages.len()).min(PAGE);
            let page = history.read(channel, at, most).await?;
            at = page.upto.or(at);
            stretch.more = page.more;
            let publications = page.publications.into_iter();
            let messages = publications.filter_map(|it| self.log.read_back(it));
            stretch.messages.extend(messages);
        }
        stretch.upto = at.map(|at| self.log.to_client(at));
        Ok(stretch)
    }
}
