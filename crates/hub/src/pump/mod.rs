//! From the backplane to the shards, in one task: every message is checked against what was here
//! before, kept in the window, and posted to the shards, one mail for each batch.
//!
//! A hole is looked for in the broker's log before anything behind it is passed on; what is not
//! found is announced, in front of the message behind it. This task may wait for a shard or for the
//! log: the broker's events then wait in their bounded queue. It knows no session.

mod fill;
mod health;
mod hear;
mod lane_past;
mod lane_reads;
mod refill;
mod tail_fingerprint;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hubplane_backplane::{Event, Events, GapCause, Origin, Position, Publication, Scope};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

pub use self::health::Health;
pub(super) use self::health::{HealthState, watch};
use self::lane_reads::{Arrival, Decision, LaneReads, Progress, before_it, decide};
use super::{
    Hub, RESERVED,
    beacon::Beacon,
    frame::Encoded,
    gap_detector::{Doubt, Verdict},
    message::{Message, is_id},
    position::{ClientPosition, Fingerprint},
    sequencer::Sequence,
    shard::Mail,
};

/// How often old messages and silent origins are forgotten, and doubts are settled.
const SWEEP: Duration = Duration::from_secs(1);

/// The task's own state; nobody else touches it.
pub(super) struct Pump<'a> {
    hub: &'a Hub,
    /// How far each lane was read.
    reads: LaneReads,
    /// Checks whether a log is still the same, and gives the places where it is not.
    verifying: JoinSet<Vec<Position>>,
    /// What is to be posted next.
    fresh: Vec<Message>,
    /// The places of all messages that were looked at since the last post, also of those that no
    /// client gets.
    passed: Vec<(Position, Fingerprint)>,
    /// The sequences that something of the present batch was in.
    touched: Vec<Sequence>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        Self {
            hub,
            reads: LaneReads::default(),
            verifying: JoinSet::new(),
            fresh: Vec::new(),
            passed: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Passes events on until the backend is closed. A shard that is behind makes the pump, and so the broker, wait.
    pub(super) async fn run(mut self, mut events: Events) {
        let health_state = &self.hub.health_state();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                _ = sweep.tick() => {
                    let now = Instant::now();
                    self.sweep(now).await;
                    continue;
                }
                Some(looked) = self.verifying.join_next() => {
                    // A look that was given up for a newer one ends as an error.
                    if let Ok(places) = looked {
                        self.on_verified(places).await;
                    }
                    continue;
                }
                event = events.recv() => event,
            };
            match event {
                None => break,
                Some(Event::Published(publications)) => self.take(publications).await,
                Some(Event::Progress(position)) => self.progress(position).await,
                Some(Event::Gap { scope, cause }) => {
                    self.on_gap(&scope);
                    self.hub.announce(scope, cause).await;
                }
                Some(Event::Waiting(lanes)) => {
                    self.hub.beacon_monitor().wait(lanes, Instant::now());
                }
                Some(Event::Refused { channels, reason }) => {
                    self.hub.refuse(channels, reason).await;
                }
                Some(Event::Down(reason)) => {
                    tracing::warn!(%reason, "the broker is away; reconnecting");
                    self.reads.remember_tails();
                    health_state.set(Health::Down(reason));
                }
                Some(Event::Up) => {
                    tracing::info!("the broker is back");
                    health_state.set(Health::Up);
                    self.verify_tails();
                }
            }
        }
        health_state.set(Health::Down("the backplane is closed".to_owned()));
    }

    /// Takes in one batch and posts what is new of it.
    async fn take(&mut self, publications: Vec<Publication>) {
        let now = Instant::now();
        for publication in publications {
            self.look(publication, now).await;
        }
        self.hub
            .beacon_monitor()
            .arrived(self.touched.drain(..), now);
        self.post().await;
    }

    /// Judges one message and passes it on, after what was missing before it.
    async fn look(&mut self, publication: Publication, now: Instant) {
        let sequence = self.sequence_of(&publication);
        if self.touched.last() != Some(&sequence) {
            self.touched.push(sequence.clone());
        }
        // A message of another log begins the lane anew, before its number is judged.
        let after = match publication.position {
            Some(position) => self.arrive(position, &publication).await,
            None => None,
        };
        let beacon = Beacon::of(&publication);
        let word = beacon.as_ref().map(|(beacon, _)| beacon.word());
        let verdict = publication.origin.map_or(Verdict::Next, |origin| {
            self.hub
                .log()
                .gap_detector()
                .check(&sequence, origin, word, now)
        });
        match decide(verdict, publication.origin, after, publication.position) {
            Decision::Drop => {
                self.hub.counts().repeated.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Decision::RollBack => self.rolled_back(&sequence).await,
            Decision::Refill(missing) => self.refill(&sequence, missing, now).await,
            Decision::TakeIn => {}
        }
        // Only now: what was missing before it has its place in front of it.
        let fingerprint = Fingerprint::of_publication(&publication);
        let place = publication.position.map(|position| (position, fingerprint));
        // Every place is kept, also a beacon's: clients may stand there.
        self.passed.extend(place);
        match beacon {
            Some((beacon, origin)) => {
                self.hear(&sequence, beacon, origin, publication.position)
                    .await
            }
            None => self.accept(publication, fingerprint, now),
        }
    }

    /// Returns the sequence that a message counts in: the lane where it is, which may not be its
    /// channel's while lanes are being added.
    fn sequence_of(&self, publication: &Publication) -> Sequence {
        match (
            self.hub.sequence_of(&publication.channel),
            publication.position,
        ) {
            (Sequence::Lane(_), Some(position)) => Sequence::Lane(position.lane),
            (sequence, _) => sequence,
        }
    }

    /// Takes a message that nobody here has had. Those on reserved channels stay inside the hub.
    fn accept(&mut self, publication: Publication, fingerprint: Fingerprint, now: Instant) {
        if publication.channel.starts_with(RESERVED) {
            self.hub.reserved(&publication);
            return;
        }
        self.hub.place_channel(&publication, now);
        if publication.id.as_ref().is_some_and(|id| !is_id(id)) {
            self.hub.counts().bad_ids.fetch_add(1, Ordering::Relaxed);
        }
        match self.hub.log().arrived(publication, fingerprint, now) {
            Some(message) => self.fresh.push(message),
            None => _ = self.hub.counts().repeated.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Notes how far a lane has come. Returns how far it was before, if that was in the same log.
    async fn arrive(&mut self, position: Position, publication: &Publication) -> Option<Position> {
        match self.reads.arrive(position, publication) {
            Arrival::Follows(before) => Some(before),
            Arrival::Begins { start, replaced } => {
                // What has gathered is of the log before.
                self.post().await;
                if replaced {
                    self.start_over(position.lane);
                }
                self.hub.begin(start);
                None
            }
        }
    }

    /// The backend has read a lane up to here: the window and the shards learn it, also where no message was.
    async fn progress(&mut self, position: Position) {
        let progress = self.reads.progress(position);
        let shown = match progress {
            Progress::GoesOn => {
                let position = self.hub.log().to_client(position);
                self.hub.log().window().advance(position, Instant::now());
                position
            }
            Progress::Replaced => {
                self.start_over(position.lane);
                self.hub.begin(position)
            }
            Progress::First => {
                self.fill(position).await;
                self.hub.log().to_client(position)
            }
        };
        let head = self.hub.log().window().head(position.lane);
        let sequence = Sequence::Lane(position.lane);
        let now = Instant::now();
        self.hub.beacon_monitor().watch(sequence, now);
        if progress == Progress::First {
            self.hub.beacon_now().notify_one();
        }
        self.hub
            .post(|| Mail::Progress(head.unwrap_or(shown)))
            .await;
    }

    /// Forgets a lane's numbers, because it is another log from here on: low numbers are no
    /// repetitions there. The backend has announced what may be missing.
    fn start_over(&self, lane: u32) {
        self.hub.log().gap_detector().forget(&Sequence::Lane(lane));
    }

    /// Passes on what has gathered, to the window first: a shard reads there up to what it has been shown.
    async fn post(&mut self) {
        if self.fresh.is_empty() {
            self.pass().await;
            return;
        }
        let batch: Vec<_> = self.fresh.drain(..).map(Encoded::new).collect();
        let batch = Arc::new(batch);
        // Before the mail: a shard that has been shown a message must find it in the window.
        self.hub.log().window().push(&batch, Instant::now());
        self.hub.post(|| Mail::Published(Arc::clone(&batch))).await;
        self.pass().await;
    }

    /// Notes the places of all messages that were looked at. If a lane's last one is for no client,
    /// such as a beacon, the shards learn its place: a client that subscribes gets it, and is
    /// recognised by it.
    async fn pass(&mut self) {
        let (log, now) = (&self.hub.log(), Instant::now());
        let mut heads: Vec<ClientPosition> = Vec::new();
        {
            let mut window = log.window();
            for (position, fingerprint) in self.passed.drain(..) {
                let place = log.place(position, fingerprint);
                let for_nobody = window.advance(place, now);
                heads.retain(|head| head.lane != place.lane);
                heads.extend(for_nobody.then_some(place));
            }
        }
        for head in heads {
            self.hub.post(|| Mail::Progress(head)).await;
        }
    }

    /// Forgets what is old, and announces the holes that were seen behind an announced loss and came after it.
    async fn sweep(&mut self, now: Instant) {
        self.hub.log().window().sweep(now);
        let told = {
            let mut gap_detector = self.hub.log().gap_detector();
            gap_detector.sweep(now);
            gap_detector.settle(now)
        };
        for Doubt {
            sequence, first, ..
        } in told
        {
            self.on_missing(&sequence, first).await;
        }
    }

    /// Notes a loss that the backend has announced: the numbers need not show it again, and the
    /// window has a hole.
    fn on_gap(&mut self, scope: &Scope) {
        self.hub.log().gap_detector().forgive(scope, Instant::now());
        self.hub.beacon_monitor().on_gap(scope);
        for at in self.reads.all() {
            if matches!(scope, Scope::All) || *scope == Scope::Lane(at.lane) {
                let at = self.hub.log().to_client(at);
                self.hub.log().window().break_off(at);
            }
        }
    }

    /// Handles a new message at a place that was passed already: the log was cut there, and nobody
    /// said so.
    async fn rolled_back(&mut self, sequence: &Sequence) {
        let Sequence::Lane(lane) = *sequence else {
            return;
        };
        self.replace(lane, None).await;
    }

    /// Begins a new generation of a lane, and tells its subscriptions that they may have missed something.
    async fn replace(&mut self, lane: u32, missing: Option<Origin>) {
        self.post().await;
        // What was read before this belongs to the old generation and has been posted.
        self.hub.log().generations().begin(lane, missing);
        if let Some(at) = self.reads.at(lane) {
            self.hub.begin(before_it(at));
        }
        let cause = match missing {
            Some(_) => GapCause::Missing,
            None => GapCause::LogReplaced,
        };
        self.hub.announce(Scope::Lane(lane), cause).await;
    }
}
