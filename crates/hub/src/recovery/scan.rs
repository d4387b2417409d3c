//! One reading of a lane's log, for the subscription that began it and for all others that stand at
//! places which it passes.
//!
//! The reading ends where the window begins, or at the log's end. Whatever can't be proved to be
//! whole is answered as lost: a hole in the numbers, a foreign message at a client's place, too
//! much, or too late.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{History, Page, Result, Start};
use tokio::time::{Instant, timeout_at};

use super::{gathering::Gathering, queue::RecoveryRequest};
use crate::{
    Hub,
    frame::Encoded,
    position::{ClientPosition, Fingerprint},
    shard::{Mail, RecoveryAnswer},
    window::{ReadLimit, WindowEntry},
};

/// The most messages of one read.
const PAGE: usize = 1_000;
/// How long one reading may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The reading.
pub(super) struct Scan<'a> {
    hub: &'a Hub,
    /// The log is read up to here.
    at: ClientPosition,
    /// False until the first page, which begins with the message that the first client has seen
    /// last.
    begun: bool,
    gathering: Gathering,
    /// Taken along, and not yet looked at: another message may be where the client's was.
    unchecked: Vec<RecoveryRequest>,
}

impl<'a> Scan<'a> {
    /// Begins at the place of the request's client.
    pub(super) fn new(hub: &'a Hub, request: RecoveryRequest) -> Self {
        let mut scan = Self {
            hub,
            at: request.after,
            begun: false,
            gathering: Gathering::new(ReadLimit {
                messages: hub.limits().recovery_messages,
                bytes: hub.limits().recovery_bytes,
            }),
            unchecked: Vec::new(),
        };
        scan.gathering.add(request);
        scan
    }

    /// Reads until the window has the rest, or to the log's end, and answers everybody.
    ///
    /// The time limit may cut a page off in the middle. So everybody who is to be answered is a
    /// field of this value, and answers are sent only between pages.
    pub(super) async fn run(mut self) {
        let Some(history) = self.hub.backplane().history() else {
            return self.answer_all(None).await;
        };
        // What was outside its channel's lane is not in this reading, and nobody knows of which
        // channels.
        if self.hub.log().window().placements().has_foreign() {
            tracing::debug!(
                "messages were outside their channels' lanes: only the window can tell which"
            );
            return self.answer_all(None).await;
        }
        // One limit for all pages together.
        let end = Instant::now() + LIMIT;
        match timeout_at(end, self.hub.recognises(history, self.at)).await {
            Ok(Ok(true)) => {}
            // Another message is there: the log was rolled back, and has grown again.
            Ok(Ok(false)) => return self.answer_all(None).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a position can't be looked up in the log");
                return self.answer_all(None).await;
            }
            Err(_late) => return self.answer_all(None).await,
        }
        loop {
            match timeout_at(end, self.page(history)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return self.answer_all(Some(self.at)).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "subscriptions can't be given what they missed");
                    return self.answer_all(None).await;
                }
                Err(_late) => return self.answer_all(None).await,
            }
            for request in self.gathering.take_refused() {
                self.answer(request, None).await;
            }
            if self.gathering.drop_unwanted() {
                return;
            }
        }
    }

    /// Reads a page. Returns true if there is more to be read.
    async fn page(&mut self, history: &dyn History) -> Result<bool> {
        let log = &self.hub.log();
        let mut from = log.to_backend(self.at);
        // One message earlier, so that the page begins with the one that the client has seen.
        if !std::mem::replace(&mut self.begun, true) {
            from.offset = from.offset.saturating_sub(1);
        }
        self.hub
            .counts()
            .history_reads
            .fetch_add(1, Ordering::Relaxed);
        let page = history.scan(from.lane, Start::After(from), PAGE).await?;
        let upto = page.upto.map_or(self.at, |upto| log.to_client(upto));
        // Whoever stands where this page is comes along.
        self.unchecked
            .extend(self.hub.reads().take_between(self.at, upto));
        while let Some(request) = self.unchecked.last() {
            let stands_in = self.stands_in(request, history, &page).await?;
            if let Some(request) = self.unchecked.pop() {
                match stands_in {
                    true => self.gathering.add(request),
                    false => self.gathering.refuse(request),
                }
            }
        }
        let now = std::time::Instant::now();
        self.gathering.check(&page.publications, now);
        let wanted = page.publications.into_iter();
        let wanted = wanted.filter(|it| self.gathering.wants(&it.channel));
        let messages = wanted.filter_map(|it| log.read_back(it));
        let batch: Vec<_> = messages.map(Encoded::new).collect();
        self.gathering.gather(&Arc::new(batch));
        self.at = upto;
        Ok(page.more && !log.window().reaches_back_to(upto))
    }

    /// Returns true if the message that a client means is at its position, which is in this page or right before it.
    async fn stands_in(
        &self,
        request: &RecoveryRequest,
        history: &dyn History,
        page: &Page,
    ) -> Result<bool> {
        let at = self.hub.log().to_backend(request.after);
        let there = page.publications.iter().find(|it| it.position == Some(at));
        match there.map(Fingerprint::of_publication) {
            Some(there) => Ok(request.after.is_of(there)),
            None => self.hub.recognises(history, request.after).await,
        }
    }

    async fn answer_all(&mut self, upto: Option<ClientPosition>) {
        for (request, entries) in self.gathering.take_waiting() {
            self.answer(request, upto.map(|upto| (entries, upto))).await;
        }
        let unchecked = std::mem::take(&mut self.unchecked).into_iter();
        for request in unchecked.chain(self.gathering.take_refused()) {
            self.answer(request, None).await;
        }
    }

    /// Sends one answer to the shard that asked.
    async fn answer(
        &self,
        request: RecoveryRequest,
        found: Option<(Vec<WindowEntry>, ClientPosition)>,
    ) {
        let answer = RecoveryAnswer {
            subscription: request.subscription,
            channel: request.channel,
            found,
        };
        // A shard that is gone has no sessions.
        let mail = Mail::RecoveryAnswer(answer);
        _ = self.hub.shards()[request.shard].send(mail).await;
    }
}
