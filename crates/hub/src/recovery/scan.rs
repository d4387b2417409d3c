//! One reading of a lane's log, for the subscription that began it and for all others that stand at
//! places which it passes.
//!
//! The reading ends where the window begins, or at the log's end. Whatever can't be proved to be
//! whole is answered as lost: a hole in the numbers, a foreign message at a client's place, too
//! much, or too late.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{Channel, History, Page, Result, Start};
use tokio::time::{Instant, timeout_at};

use super::queue::RecoveryRequest;
use crate::{
    Hub,
    beacon::Beacon,
    frame::Encoded,
    gap_detector::{GapDetector, Verdict},
    position::{ClientPosition, Fingerprint},
    sequencer::Sequence,
    shard::{Mail, RecoveryAnswer},
    window::WindowEntry,
};

/// The most messages of one read.
const PAGE: usize = 1_000;
/// How long one reading may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is gathered for one subscription, with its bytes of data.
struct Gathered {
    request: RecoveryRequest,
    entries: Vec<WindowEntry>,
    bytes: usize,
}

impl Gathered {
    const fn new(request: RecoveryRequest) -> Self {
        Self {
            request,
            entries: Vec::new(),
            bytes: 0,
        }
    }
}

/// One reading, and everybody who is to be answered by it.
pub(super) struct Scan<'a> {
    hub: &'a Hub,
    /// The log is read up to here.
    at: ClientPosition,
    /// False until the first page, which begins with the message that the first client has seen
    /// last.
    begun: bool,
    /// Sees where numbers are missing in what is read. Apart from the pump's: what is read back is
    /// not news.
    numbers: GapDetector,
    /// Those for whom messages are gathered, by their channels.
    waiting: HashMap<Channel, Vec<Gathered>>,
    /// Taken along, and not checked yet: another message may be at the client's place.
    unchecked: Vec<RecoveryRequest>,
    /// Those who can't be given what they missed.
    refused: Vec<RecoveryRequest>,
}

impl<'a> Scan<'a> {
    /// Begins at the place of the request's client.
    pub(super) fn new(hub: &'a Hub, request: RecoveryRequest) -> Self {
        let mut scan = Self {
            hub,
            at: request.after,
            begun: false,
            numbers: GapDetector::default(),
            waiting: HashMap::new(),
            unchecked: Vec::new(),
            refused: Vec::new(),
        };
        scan.add(request);
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
        if self.hub.log.window().placements().has_foreign() {
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
            // Those who can't be recovered need not wait for the others.
            for request in std::mem::take(&mut self.refused) {
                self.answer(request, None).await;
            }
            // Between pages, so that a reading for nobody ends.
            self.drop_unwanted();
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    /// Reads a page. Returns true if there is more to be read.
    async fn page(&mut self, history: &dyn History) -> Result<bool> {
        let log = &self.hub.log;
        let mut from = log.to_backend(self.at);
        // One message earlier, so that the page begins with the one that the client has seen.
        if !std::mem::replace(&mut self.begun, true) {
            from.offset = from.offset.saturating_sub(1);
        }
        self.hub
            .counts
            .history_reads
            .fetch_add(1, Ordering::Relaxed);
        let page = history.scan(from.lane, Start::After(from), PAGE).await?;
        let upto = page.upto.map_or(self.at, |upto| log.to_client(upto));
        // Whoever stands where this page is comes along.
        self.unchecked
            .extend(self.hub.reads.take_between(self.at, upto));
        while let Some(request) = self.unchecked.last() {
            let stands_in = self.stands_in(request, history, &page).await?;
            if let Some(request) = self.unchecked.pop() {
                match stands_in {
                    true => self.add(request),
                    false => self.refused.push(request),
                }
            }
        }
        // Before the messages are given out: whoever stands before the hole gets none.
        if let Some(hole) = self.last_hole(&page) {
            self.refuse_before(hole);
        }
        let wanted = page.publications.into_iter();
        let wanted = wanted.filter(|it| self.waiting.contains_key(&it.channel));
        let messages = wanted.filter_map(|it| log.read_back(it));
        let batch: Vec<_> = messages.map(Encoded::new).collect();
        self.gather(&Arc::new(batch));
        self.at = upto;
        Ok(page.more && !log.window().reaches_back_to(upto))
    }

    /// Returns the offset behind the last place in a page where numbers are missing. What was there
    /// has been removed from the log, such as by a topic that was compacted for a while.
    fn last_hole(&mut self, page: &Page) -> Option<u128> {
        let now = std::time::Instant::now();
        let mut hole = None;
        for publication in &page.publications {
            let (Some(origin), Some(position)) = (publication.origin, publication.position) else {
                continue;
            };
            let word = Beacon::of(publication).map(|(beacon, _)| beacon.word());
            let sequence = Sequence::Lane(position.lane);
            let verdict = self.numbers.check(&sequence, origin, word, now);
            if matches!(verdict, Verdict::Missing { .. }) {
                hole = Some(position.offset);
            }
        }
        hole
    }

    /// Refuses those who stand before this offset: they can't be given all that they missed.
    fn refuse_before(&mut self, offset: u128) {
        for waiting in self.waiting.values_mut() {
            let before = waiting.extract_if(.., |it| it.request.after.offset < offset);
            self.refused.extend(before.map(|it| it.request));
        }
    }

    /// Returns true if the message that a client means is at its position, which is in this page or
    /// right before it.
    async fn stands_in(
        &self,
        request: &RecoveryRequest,
        history: &dyn History,
        page: &Page,
    ) -> Result<bool> {
        let at = self.hub.log.to_backend(request.after);
        let there = page.publications.iter().find(|it| it.position == Some(at));
        match there.map(Fingerprint::of_publication) {
            Some(there) => Ok(request.after.is_of(there)),
            None => self.hub.recognises(history, request.after).await,
        }
    }

    /// Lets a request take part in the reading from here on.
    fn add(&mut self, request: RecoveryRequest) {
        let channel = Channel::clone(&request.channel);
        let waiting = self.waiting.entry(channel).or_default();
        waiting.push(Gathered::new(request));
    }

    /// Gives each subscription its messages of a batch. One that missed more than a client may be
    /// given is refused.
    fn gather(&mut self, batch: &Arc<Vec<Encoded>>) {
        let limits = self.hub.limits();
        let mut too_much = Vec::new();
        for (index, encoded) in (0..).zip(batch.iter()) {
            let message = encoded.message();
            let Some(waiting) = self.waiting.get_mut(&message.channel) else {
                continue;
            };
            let entry = WindowEntry::new(Arc::clone(batch), index);
            let offset = entry.position().offset;
            let missed_it = |it: &&mut Gathered| it.request.after.offset < offset;
            for gathered in waiting.iter_mut().filter(missed_it) {
                // Counted for each, although several share the entry.
                gathered.bytes += message.data.len();
                gathered.entries.push(entry.clone());
            }
            let over = |it: &mut Gathered| {
                it.entries.len() > limits.recovery_messages || it.bytes > limits.recovery_bytes
            };
            too_much.extend(waiting.extract_if(.., over));
        }
        too_much.extend(self.relieve());
        let too_much = too_much.into_iter().map(|it| it.request);
        self.refused.extend(too_much);
    }

    /// Takes out the channels for which most is held, until the rest is no more than one client may
    /// be given: a reading for many must not cost many times the memory.
    fn relieve(&mut self) -> Vec<Gathered> {
        let most = self.hub.limits().recovery_bytes;
        let mut taken = Vec::new();
        // What several clients are given of one channel is held once.
        let held = |all: &Vec<Gathered>| all.iter().map(|it| it.bytes).max().unwrap_or_default();
        while self.waiting.values().map(held).sum::<usize>() > most {
            let largest = self.waiting.iter().max_by_key(|(_, all)| held(all));
            let Some(channel) = largest.map(|(channel, _)| Channel::clone(channel)) else {
                break;
            };
            taken.extend(self.waiting.remove(&channel).unwrap_or_default());
        }
        taken
    }

    /// Drops those whose subscription is gone, so that a reading for nobody ends.
    fn drop_unwanted(&mut self) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|it| it.request.is_wanted());
            !waiting.is_empty()
        });
    }

    /// Answers everybody who is left. `upto` is where the reading ended, `None` if it failed.
    async fn answer_all(&mut self, upto: Option<ClientPosition>) {
        for Gathered {
            request, entries, ..
        } in std::mem::take(&mut self.waiting).into_values().flatten()
        {
            self.answer(request, upto.map(|upto| (entries, upto))).await;
        }
        let unchecked = std::mem::take(&mut self.unchecked).into_iter();
        for request in unchecked.chain(std::mem::take(&mut self.refused)) {
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
        _ = self.hub.shards[request.shard].send(mail).await;
    }
}
