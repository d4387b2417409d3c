//! The watching thread. Each second it asks, over a connection of its own, which log there is and
//! how far it goes. An assigned consumer can stay deaf after a broker's restart without a word
//! (librdkafka #5153); this thread finds that out.
//!
//! It only looks and decides: the reading thread carries out its commands, and it alone moves the
//! places and changes the layout. `Down` and `Up` are said here and nowhere else.

use std::{
    collections::BTreeMap,
    sync::{atomic::Ordering, mpsc::SyncSender},
    time::{Duration, Instant},
};

use hubplane_backplane::{Event, EventSender};
use rdkafka::Offset;

use crate::{
    client::{Consumer, Offsets},
    consume::ReaderCommand,
    settings::SettingsWatch,
    shared::Shared,
    topic::{self, Found},
};

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// The pause while the broker is away or has just come back.
const OFTEN: Duration = Duration::from_millis(300);
/// How long to wait for an answer. With the pause before it, a silent broker is called away within
/// 3.5 s.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the thread checks, during a pause, whether something urgent has happened.
const STEP: Duration = Duration::from_millis(100);
/// How long the thread listens, after a question, to what librdkafka has to say.
const LISTEN: Duration = Duration::from_millis(20);
/// A partition that is behind and does not move for so long is assigned anew. After as long again
/// its consumer is made anew, and then again with growing patience.
const STUCK: Duration = Duration::from_secs(2);
/// The longest time between two such tries.
const MOST_PATIENCE: Duration = Duration::from_secs(30);

/// Time between two tries to read if the user may not.
const DENIED: Duration = Duration::from_secs(5);

/// What the thread looks with.
pub(crate) struct Look {
    /// A consumer that reads nothing.
    pub(crate) probe: Consumer,
    pub(crate) settings: SettingsWatch,
}

/// The watching thread's own state.
struct Watcher<'a> {
    shared: &'a Shared,
    probe: Consumer,
    settings: SettingsWatch,
    orders: &'a SyncSender<ReaderCommand>,
    events: &'a EventSender,
    /// The topic's id at the last look, if the broker has ids.
    id: Option<String>,
    /// The topic was not there at the last look. If it is back, it is another log.
    vanished: bool,
    /// How far each partition was read at the last look.
    last: Offsets,
    /// Since when a partition has not moved though it should.
    stuck: BTreeMap<i32, Instant>,
    /// How many tries in a row were made to mend that.
    tries: u32,
    /// Partitions that have no leader, or one that does not answer.
    unanswered: Vec<i32>,
    /// When a refused reading was last tried again.
    tried: Instant,
    /// Partitions that open transactions hold up.
    waiting: Vec<u32>,
    /// The broker is back, and the reading must still show that it is, too.
    returning: bool,
}

/// The thread's body: looks until the instance is closed.
pub(crate) fn run(
    shared: &Shared,
    Look { probe, settings }: Look,
    orders: &SyncSender<ReaderCommand>,
    events: &EventSender,
) {
    let mut watcher = Watcher {
        shared,
        probe,
        settings,
        orders,
        events,
        id: shared.identity.id(),
        vanished: false,
        last: shared.places().next.clone(),
        stuck: BTreeMap::new(),
        tries: 0,
        unanswered: Vec::new(),
        tried: Instant::now(),
        waiting: Vec::new(),
        returning: false,
    };
    while !shared.is_closed() {
        watcher.pause();
        watcher.look();
        shared.replay.tend();
    }
}

impl Watcher<'_> {
    /// Waits for the next look. It ends early if librdkafka reaches no broker, or if the reading
    /// has lost its place.
    fn pause(&self) {
        let down = self.shared.down.load(Ordering::Relaxed);
        let until = Instant::now() + if down { OFTEN } else { EVERY };
        while Instant::now() < until && !self.shared.is_closed() {
            // Callbacks run inside of polls only.
            drop(self.probe.poll(STEP));
            let urgent = self.shared.trouble.all_down.load(Ordering::Relaxed)
                || self.shared.lost.load(Ordering::Relaxed);
            if urgent && !down {
                return;
            }
        }
    }

    /// Looks once: is the broker there, is the topic the same, may the user read, how far does the
    /// log go, does the reading move.
    fn look(&mut self) {
        if self.shared.is_closed() {
            return;
        }
        let away = format!("{} does not answer", self.shared.config.brokers);
        let topic = &self.shared.config.topic;
        let start = Instant::now();
        let found = topic::find(&self.probe, topic, ANSWER);
        // The topic's id comes with the metadata, but is told inside of a poll.
        drop(self.probe.poll(LISTEN));
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the topic's metadata can't be read");
                return self.down(self.shared.trouble.refused().unwrap_or(away));
            }
        };
        self.shared.trouble.over();
        if found.count() == 0 {
            self.vanished = true;
            return self.down(format!("the topic {topic:?} is gone"));
        }
        if self.changed(&found) {
            return;
        }
        if let Some(reason) = self.shared.trouble.denied() {
            return self.denied(reason);
        }
        let left = ANSWER.saturating_sub(start.elapsed()).max(STEP);
        // What is acknowledged after this may lie behind the ends that are asked for now.
        let acknowledged = self.shared.acknowledged().clone();
        let ends = topic::offsets_by_leader(&self.probe, topic, &found, Offset::End, left);
        // As long as one leader answers, the broker is there: a partition without a leader must not
        // stop the others.
        if ends.is_empty() {
            return self.down(away);
        }
        self.name_unanswered(&found, &ends);
        if self.shared.lost.load(Ordering::Relaxed) {
            return self.find(&found, &ends);
        }
        if self.shared.down.load(Ordering::Relaxed) {
            // Somebody may have changed them meanwhile: they are known before `Up` is said.
            self.settings.expire();
        }
        self.read_settings(&found);
        self.transactions(&acknowledged, &ends);
        self.compare(&ends);
    }

    /// Logs which partitions have no leader that answers. Their channels wait; the others go on.
    fn name_unanswered(&mut self, found: &Found, ends: &Offsets) {
        let all = found.0.iter().map(|part| part.id);
        let unanswered: Vec<_> = all.filter(|id| !ends.contains_key(id)).collect();
        if unanswered == self.unanswered {
            return;
        }
        match unanswered.is_empty() {
            true => tracing::info!("all partitions have leaders that answer again"),
            false => {
                tracing::warn!(partitions = ?unanswered, "no leader answers for these partitions");
            }
        }
        self.unanswered = unanswered;
    }

    /// Reads the topic's settings if that is due: whether they still keep what this backend
    /// promises, and which partitions have too few replicas in sync to take anything.
    fn read_settings(&mut self, found: &Found) {
        let Some(settings) = self.settings.look() else {
            return;
        };
        self.shared
            .compacted
            .store(settings.compacted, Ordering::Relaxed);
        let short = settings.short(found);
        let mut known = self.shared.short();
        if known.keys().ne(short.keys()) {
            match short.values().next() {
                None => tracing::info!("all partitions have enough replicas in sync again"),
                Some(first) => {
                    let partitions: Vec<_> = short.keys().collect();
                    tracing::warn!(?partitions, "too few replicas are in sync: {first}");
                }
            }
        }
        *known = short;
    }

    /// Says `Down` while the user may not read, and tries to read again now and then.
    fn denied(&mut self, reason: String) {
        self.down(reason);
        if self.tried.elapsed() >= DENIED {
            self.tried = Instant::now();
            self.send_command(ReaderCommand::Assign(Offsets::new()));
        }
    }

    /// Returns true if the topic is another log or has more partitions. The reading thread is then
    /// told.
    fn changed(&mut self, found: &Found) -> bool {
        let id = self.shared.identity.id();
        let replaced = match (&self.id, &id) {
            (Some(before), Some(now)) => before != now,
            _ => self.vanished,
        };
        self.vanished = false;
        let order = if replaced {
            ReaderCommand::Replaced(found.count())
        } else if found.count() > self.shared.layout().partitions {
            ReaderCommand::Grow(found.count())
        } else {
            self.id = id;
            return false;
        };
        // A reading thread that waits for the hub may have no room for the command. Then the next
        // look finds the same.
        match self.send_command(order) {
            true => self.id = id,
            false => self.vanished = replaced,
        }
        true
    }

    /// Finds the reading thread's place again: asks where each partition begins and ends, and tells
    /// it.
    fn find(&mut self, found: &Found, ends: &Offsets) {
        let (probe, topic) = (&self.probe, &self.shared.config.topic);
        let starts = topic::offsets_by_leader(probe, topic, found, Offset::Beginning, ANSWER);
        if starts.is_empty() {
            return;
        }
        let ranges = starts
            .iter()
            .filter_map(|(part, start)| Some((*part, (*start, *ends.get(part)?))))
            .collect();
        self.shared.lost.store(false, Ordering::Relaxed);
        if !self.send_command(ReaderCommand::Found(ranges)) {
            self.shared.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a command to the reading thread without waiting. Returns false if it has no room. What
    /// was counted as stuck counts anew.
    fn send_command(&mut self, command: ReaderCommand) -> bool {
        self.stuck.clear();
        self.shared.places().heard.clear();
        self.orders.try_send(command).is_ok()
    }

    /// Says `Down`, once for each time that the broker goes away.
    fn down(&mut self, reason: String) {
        self.stuck.clear();
        self.returning = false;
        if !self.shared.down.swap(true, Ordering::Relaxed) {
            self.shared.send(self.events, Event::Down(reason));
        }
    }

    /// Tells the hub which partitions open transactions hold up. The end of a log, as it is asked
    /// for (`read_committed`), is where the first open transaction begins, so what the broker has
    /// acknowledged lies behind it.
    fn transactions(&mut self, acknowledged: &Offsets, ends: &Offsets) {
        let places = self.shared.places();
        let waits = |(partition, end): (&i32, &i64)| {
            let read = places.next.get(partition).max(places.empty.get(partition));
            let behind = acknowledged.get(partition).is_some_and(|upto| upto > end);
            (behind && read.is_some_and(|read| read <= end)).then(|| partition.unsigned_abs())
        };
        let waiting: Vec<_> = ends.iter().filter_map(waits).collect();
        drop(places);
        if waiting == self.waiting {
            return;
        }
        match waiting.is_empty() {
            true => tracing::info!("no open transaction holds a partition up any more"),
            false => tracing::warn!(?waiting, "open transactions hold these partitions up"),
        }
        self.waiting.clone_from(&waiting);
        self.shared.send(self.events, Event::Waiting(waiting));
    }

    /// Compares what was read with what is there. Says `Up` once every partition has shown a sign
    /// of life.
    fn compare(&mut self, ends: &Offsets) {
        let down = self.shared.down.load(Ordering::Relaxed);
        if down && !self.returning {
            // Whatever has become of the consumer's connections: from this assignment on, a sign of
            // life counts.
            self.returning = self.send_command(ReaderCommand::Assign(ends.clone()));
            return;
        }
        // The reading thread waits for the hub. That it does not move now says nothing about the
        // broker.
        if self.shared.held.load(Ordering::Relaxed) {
            self.stuck.clear();
            return;
        }
        let now = Instant::now();
        let places = self.shared.places();
        for (partition, end) in ends {
            let next = places.next.get(partition);
            let read = next.max(places.empty.get(partition));
            let moved = next != self.last.get(partition);
            let behind = read.is_none_or(|read| read < end);
            let silent = down && !places.heard.contains(partition);
            if (behind && !moved) || silent {
                self.stuck.entry(*partition).or_insert(now);
            } else {
                self.stuck.remove(partition);
            }
        }
        self.last.clone_from(&places.next);
        drop(places);
        if !self.stuck.is_empty() {
            return self.mend(ends, now);
        }
        self.tries = 0;
        if down {
            self.returning = false;
            self.shared.down.store(false, Ordering::Relaxed);
            self.shared.send(self.events, Event::Up);
        }
    }

    /// Has stuck partitions assigned anew, and from the second try on has the consumer made anew.
    /// From then on the patience doubles with each try, up to [`MOST_PATIENCE`].
    fn mend(&mut self, ends: &Offsets, now: Instant) {
        let factor = 1_u32 << self.tries.saturating_sub(1).min(4);
        let patience = (STUCK * factor).min(MOST_PATIENCE);
        let worst = self.stuck.values().min();
        if worst.is_none_or(|since| now.duration_since(*since) < patience) {
            return;
        }
        let partitions: Vec<_> = self.stuck.keys().collect();
        tracing::warn!(?partitions, tries = self.tries, "reading stands still");
        let ends = ends.clone();
        let order = match self.tries {
            0 => ReaderCommand::Assign(ends),
            _ => ReaderCommand::Recreate(ends),
        };
        self.tries = self.tries.saturating_add(1);
        if !self.send_command(order) {
            // The command was not taken, so it was no try.
            self.tries -= 1;
        }
    }
}
