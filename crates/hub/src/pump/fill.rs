//! Reading the broker's log back into the pump: at the start, to fill the window, and later where numbers are missing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hubplane_backplane::{Error, GapCause, Origin, Position, Publication, Scope, Start};
use tokio::time::timeout;

use super::{Missing, Pump};
use crate::{
    RESERVED, beacon::Beacon, frame::Encoded, gap_detector::Verdict, message::Message,
    position::Fingerprint, sequencer::Sequence,
};

/// Messages of one read.
const PAGE: usize = 1_000;
/// The same where all of a lane is read.
const FILL_PAGE: usize = 10_000;
/// How long the window may be filled before the instance does without.
const FILL: Duration = Duration::from_secs(10);
/// How long missing numbers are looked for.
const REFILL: Duration = Duration::from_secs(2);

impl Pump<'_> {
    /// A lane that this instance has just begun to read, from this position on: its past goes into the window.
    pub(super) async fn fill(&mut self, position: Position) {
        self.hub.begin(position);
        if self.hub.backplane.history().is_none() {
            return;
        }
        // Meanwhile nothing that arrives is looked at.
        self.hub.beacon_monitor().pause();
        let filled = timeout(FILL, self.read_past(position)).await;
        self.hub.beacon_monitor().resume(Instant::now());
        let trouble = match filled {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took more than {FILL:?}"),
        };
        tracing::warn!(lane = position.lane, %trouble, "the window could not be filled from the log");
        self.hub.begin(position);
    }

    async fn read_past(&mut self, position: Position) -> Result<(), Error> {
        let (hub, lane) = (self.hub, position.lane);
        let Some(history) = hub.backplane.history() else {
            return Ok(());
        };
        let mut from = Start::Recent {
            age: hub.limits.window_age,
            most: hub.log.window().most_messages(),
        };
        let mut begun = false;
        loop {
            hub.counts.history_reads.fetch_add(1, Ordering::Relaxed);
            let page = history.scan(lane, from, FILL_PAGE).await?;
            let mut past = Past::default();
            for publication in page.publications {
                let Some(at) = publication.position else {
                    continue;
                };
                // What comes after this is on its way already.
                if at.epoch != position.epoch || at.offset > position.offset {
                    continue;
                }
                if !std::mem::replace(&mut begun, true) {
                    let offset = at.offset.saturating_sub(1);
                    hub.begin(Position { offset, ..at });
                }
                if let Some(void) = self.remember(&publication) {
                    past.keep(self);
                    hub.begin(void);
                }
                let fingerprint = Fingerprint::of_publication(&publication);
                past.passed.push((at, fingerprint));
                past.fresh.extend(self.kept(publication, fingerprint));
            }
            past.keep(self);
            let done = page.upto.is_none_or(|upto| upto.offset >= position.offset);
            match page.upto {
                Some(upto) if page.more && !done => from = Start::After(upto),
                _ => break,
            }
        }
        let end = hub.log.to_client(position);
        hub.log.window().advance(end, Instant::now());
        Ok(())
    }

    /// Takes note of a past message's number, and of a beacon's generation. Returns up to where the window can't be trusted
    /// because of it: up to a beacon with a new generation, or to a hole in the numbers. What was there has been removed,
    /// such as by a topic that was compacted for a while.
    fn remember(&self, publication: &Publication) -> Option<Position> {
        let position = publication.position?;
        let beacon = Beacon::of(publication);
        let mut hole = None;
        if let Some(origin) = publication.origin {
            let word = beacon.as_ref().map(|(beacon, _)| beacon.word());
            let sequence = Sequence::Lane(position.lane);
            let mut gap_detector = self.hub.log.gap_detector();
            let verdict = gap_detector.check(&sequence, origin, word, Instant::now());
            hole = matches!(verdict, Verdict::Missing { .. }).then(|| Position {
                offset: position.offset.saturating_sub(1),
                ..position
            });
        }
        let Some((beacon, _)) = beacon else {
            return hole;
        };
        if beacon.foreign {
            self.hub.log.window().hear_of_foreign();
        }
        let mut generations = self.hub.log.generations();
        generations
            .adopt(position.lane, beacon.generation)
            .then_some(position)
            .or(hole)
    }

    /// A past message as clients know it; `None` for the hub's own and for repetitions.
    fn kept(&self, publication: Publication, fingerprint: Fingerprint) -> Option<Message> {
        if publication.channel.starts_with(RESERVED) {
            return None;
        }
        let now = Instant::now();
        self.hub.place_channel(&publication, now);
        self.hub.log.arrived(publication, fingerprint, now)
    }

    /// Looks for missing numbers in the log. What is found is passed on in its place; else it is announced.
    pub(super) async fn refill(&mut self, sequence: &Sequence, missing: Missing, now: Instant) {
        let found = timeout(REFILL, self.find(missing)).await;
        if let Ok(Some(found)) = found {
            let count = found.len() as u64;
            tracing::warn!(
                ?sequence,
                count,
                "messages did not arrive and were read from the log"
            );
            self.hub.counts.refilled.fetch_add(count, Ordering::Relaxed);
            for publication in found {
                let fingerprint = Fingerprint::of_publication(&publication);
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

    /// Numbers from this one on are missing for good: begins a new generation on a log, and tells the subscriptions.
    pub(super) async fn on_missing(&mut self, sequence: &Sequence, first: Origin) {
        match sequence {
            Sequence::Lane(lane) if self.hub.capabilities.has_positions() => {
                self.replace(*lane, Some(first)).await;
            }
            Sequence::Lane(_) => {
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

    /// All of the missing messages, in order; `None` if one is not there.
    async fn find(&self, missing: Missing) -> Option<Vec<Publication>> {
        let history = self.hub.backplane.history()?;
        let (after, upto) = (missing.after?, missing.upto?);
        let mut from = after;
        let mut found = Vec::new();
        let mut next = missing.from;
        loop {
            let reads = &self.hub.counts.history_reads;
            reads.fetch_add(1, Ordering::Relaxed);
            let scanned = history.scan(after.lane, Start::After(from), PAGE).await;
            let page = scanned.ok()?;
            for publication in page.publications {
                let Some(origin) = publication.origin else {
                    continue;
                };
                if origin.id != missing.origin || origin.number < next {
                    continue;
                }
                let beacon = Beacon::of(&publication);
                let first = beacon.map_or(origin.number, |(beacon, _)| beacon.word().from);
                if first > next {
                    return None;
                }
                next = origin.number + 1;
                found.push(publication);
                if next > missing.to {
                    return Some(found);
                }
            }
            match page.upto {
                Some(at) if page.more && at.offset < upto.offset => from = at,
                _ => return None,
            }
        }
    }
}

/// Past messages on their way into the window.
#[derive(Default)]
struct Past {
    fresh: Vec<Message>,
    /// The places of all, also of those that no client gets.
    passed: Vec<(Position, Fingerprint)>,
}

impl Past {
    fn keep(&mut self, pump: &Pump<'_>) {
        let (log, now) = (&pump.hub.log, Instant::now());
        let batch: Vec<_> = self.fresh.drain(..).map(Encoded::new).collect();
        let mut window = log.window();
        window.push(&Arc::new(batch), now);
        for (position, fingerprint) in self.passed.drain(..) {
            window.advance(log.place(position, fingerprint), now);
        }
    }
}
