//! Reads the broker's log back into the pump: at the start, to fill the window, and later where
//! numbers are missing.
//!
//! What is read back is judged by the origins' numbers like what arrives, because a log that was
//! compacted or cleaned by hand looks whole from both ends. Every read has a time limit: until it
//! is over, the pump passes nothing on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hubplane_backplane::{Error, GapCause, Origin, Position, Publication, Scope, Start};
use tokio::time::timeout;

use super::{
    Pump,
    lane_past::{LanePast, PastPlace, void_upto},
    refill::{Missing, Refill, Step},
};
use crate::{
    RESERVED, beacon::Beacon, frame::Encoded, gap_detector::Verdict, message::Message,
    position::Fingerprint, sequencer::Sequence,
};

/// Messages of one read while missing numbers are looked for.
const PAGE: usize = 1_000;
/// Messages of one read while the window is filled: all of the lane is wanted there.
const FILL_PAGE: usize = 10_000;
/// How long filling the window may take. After that the instance goes on without a past.
const FILL: Duration = Duration::from_secs(10);
/// How long missing numbers are looked for before they are announced.
const REFILL: Duration = Duration::from_secs(2);

impl Pump<'_> {
    /// Puts the past of a lane into the window. This instance has just begun to read that lane,
    /// from `position` on. Without a log, or if the past can't be read, the window begins at
    /// `position`.
    pub(super) async fn fill(&mut self, position: Position) {
        self.hub.begin(position);
        if self.hub.backplane().history().is_none() {
            return;
        }
        // Nothing that arrives is looked at meanwhile, so the beacons' silence means nothing.
        self.hub.beacon_monitor().pause();
        let filled = timeout(FILL, self.read_past(position)).await;
        self.hub.beacon_monitor().resume(Instant::now());
        // A hub without a past is still of use: it says which clients it can't recover.
        let trouble = match filled {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took more than {FILL:?}"),
        };
        tracing::warn!(lane = position.lane, %trouble, "the window could not be filled from the log");
        // What was kept so far may have a hole behind it.
        self.hub.begin(position);
    }

    /// Reads a lane from the age of the window up to `position` and keeps it.
    async fn read_past(&mut self, position: Position) -> Result<(), Error> {
        let (hub, lane) = (self.hub, position.lane);
        let Some(history) = hub.backplane().history() else {
            return Ok(());
        };
        let (age, most) = (hub.limits().window_age, hub.log().window().most_messages());
        let mut past = LanePast::new(position, age, most);
        loop {
            hub.counts().history_reads.fetch_add(1, Ordering::Relaxed);
            let page = history.scan(lane, past.from(), FILL_PAGE).await?;
            self.keep(&mut past, page.publications);
            if !past.reads_on(page.upto, page.more) {
                break;
            }
        }
        // The lane may end with messages that no client gets.
        let end = hub.log().to_client(position);
        hub.log().window().advance(end, Instant::now());
        Ok(())
    }

    /// Moves one page of a lane's past into the window.
    fn keep(&self, past: &mut LanePast, publications: Vec<Publication>) {
        let mut page = PastPage::default();
        for publication in publications {
            let Some(PastPlace { at, begins }) = past.place(&publication) else {
                continue;
            };
            if let Some(before) = begins {
                self.hub.begin(before);
            }
            // What was kept before this place must not be given to anybody.
            if let Some(void) = self.remember(&publication, at) {
                page.keep(self);
                self.hub.begin(void);
            }
            let fingerprint = Fingerprint::of_publication(&publication);
            page.passed.push((at, fingerprint));
            page.fresh.extend(self.kept(publication, fingerprint));
        }
        page.keep(self);
    }

    /// Notes the number of a past message, and the generation that a beacon carries. Returns the
    /// position up to which the window can't be trusted.
    fn remember(&self, publication: &Publication, at: Position) -> Option<Position> {
        let (log, beacon) = (self.hub.log(), Beacon::of(publication));
        let word = beacon.as_ref().map(|(beacon, _)| beacon.word());
        let sequence = Sequence::Lane(at.lane);
        let verdict = publication.origin.map_or(Verdict::Next, |origin| {
            let now = Instant::now();
            log.gap_detector().check(&sequence, origin, word, now)
        });
        let new_generation = beacon.is_some_and(|(beacon, _)| {
            if beacon.foreign {
                log.window().hear_of_foreign();
            }
            log.generations().adopt(at.lane, beacon.generation)
        });
        void_upto(at, verdict, new_generation)
    }

    /// Returns a past message as clients know it. `None` for the hub's own messages and for
    /// repetitions.
    fn kept(&self, publication: Publication, fingerprint: Fingerprint) -> Option<Message> {
        if publication.channel.starts_with(RESERVED) {
            return None;
        }
        let now = Instant::now();
        self.hub.place_channel(&publication, now);
        self.hub.log().arrived(publication, fingerprint, now)
    }

    /// Looks for missing numbers in the log. Messages that are found are passed on in their place,
    /// before what stood behind the hole; if any is not found, the loss is announced.
    pub(super) async fn refill(&mut self, sequence: &Sequence, missing: Missing, now: Instant) {
        let found = timeout(REFILL, self.find(missing)).await;
        if let Ok(Some(found)) = found {
            let count = found.len() as u64;
            tracing::warn!(
                ?sequence,
                count,
                "messages did not arrive and were read from the log"
            );
            self.hub
                .counts()
                .refilled
                .fetch_add(count, Ordering::Relaxed);
            for publication in found {
                let fingerprint = Fingerprint::of_publication(&publication);
                // The beacon that shows the hole may itself be among those that were found.
                if Beacon::of(&publication).is_none() {
                    self.accept(publication, fingerprint, now);
                }
            }
            return;
        }
        let Missing {
            origin, from, to, ..
        } = missing;
        tracing::warn!(
            ?sequence,
            origin = format!("{origin:x}"),
            from,
            to,
            "numbers are missing"
        );
        let first = Origin {
            id: origin,
            number: from,
        };
        self.on_missing(sequence, first).await;
    }

    /// Handles numbers that are missing for good, from `first` on: begins a new generation where
    /// there are positions, and announces the loss to the subscriptions concerned.
    pub(super) async fn on_missing(&mut self, sequence: &Sequence, first: Origin) {
        match sequence {
            Sequence::Lane(lane) if self.hub.capabilities().has_positions() => {
                self.replace(*lane, Some(first)).await;
            }
            Sequence::Lane(_) => {
                // What was before the hole goes first; the announcement comes in front of what is
                // behind it.
                self.post().await;
                self.hub.announce(Scope::All, GapCause::Missing).await;
            }
            Sequence::Channel(channel) => {
                self.post().await;
                let scope = Scope::Channels(vec![Arc::clone(channel)]);
                self.hub.announce(scope, GapCause::Missing).await;
            }
        }
    }

    /// Returns all of the missing messages in their order, or `None` if a single one is not in the
    /// log.
    async fn find(&self, missing: Missing) -> Option<Vec<Publication>> {
        let history = self.hub.backplane().history()?;
        let mut search = Refill::new(missing)?;
        loop {
            let reads = &self.hub.counts().history_reads;
            reads.fetch_add(1, Ordering::Relaxed);
            let at = search.at();
            let scanned = history.scan(at.lane, Start::After(at), PAGE).await;
            match search.take(scanned.ok()?) {
                Step::ReadOn(on) => search = on,
                Step::Found(found) => return Some(found),
                Step::NotThere => return None,
            }
        }
    }
}

/// One page of past messages on its way into the window.
#[derive(Default)]
struct PastPage {
    /// Messages that clients may be given.
    fresh: Vec<Message>,
    /// The places of all messages, also of those that no client gets.
    passed: Vec<(Position, Fingerprint)>,
}

impl PastPage {
    /// Moves everything into the window. Also called before the window begins anew, to keep the
    /// order.
    fn keep(&mut self, pump: &Pump<'_>) {
        let (log, now) = (&pump.hub.log(), Instant::now());
        let batch: Vec<_> = self.fresh.drain(..).map(Encoded::new).collect();
        let mut window = log.window();
        window.push(&Arc::new(batch), now);
        for (position, fingerprint) in self.passed.drain(..) {
            window.advance(log.place(position, fingerprint), now);
        }
    }
}
