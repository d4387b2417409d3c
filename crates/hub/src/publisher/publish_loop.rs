//! The publisher's task: rounds of messages, one at the backplane at a time, and a beacon a second.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{Channel, Error, ErrorKind};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use super::{
    Job, ReplyTo, Waiting,
    in_flight_batch::{Answered, InFlightBatch, Place, Stored},
};
use crate::{
    Hub, beacon, sabotage,
    sequencer::{Sequence, Sequencer},
    shard::{Mail, PublishedMail},
};

/// Messages of one call to the backplane.
const BATCH: usize = 1_024;
/// How much later than a message's deadline its broker's answer is still waited for.
const GRACE: Duration = Duration::from_millis(250);
/// Before the second try; each later one waits twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Channels whose last numbers one beacon carries, and those of one second together.
const TAILS: usize = 512;
const MOST_TAILS: usize = 16 * TAILS;

/// The task's end: the line of jobs.
pub(crate) struct PublishLoop {
    queue: mpsc::Receiver<Job>,
    waiting: Arc<Waiting>,
    sequencer: Sequencer,
    /// Where each lane's beacons are published.
    beacons: HashMap<Sequence, Channel>,
}

impl PublishLoop {
    pub(super) fn new(
        queue: mpsc::Receiver<Job>,
        waiting: Arc<Waiting>,
        sequencer: Sequencer,
    ) -> Self {
        Self {
            queue,
            waiting,
            sequencer,
            beacons: HashMap::new(),
        }
    }

    /// Publishes until the hub is gone: one round at the backplane at a time, and what comes meanwhile is the next.
    pub(crate) async fn run(mut self, hub: &Hub) {
        let mut tick = interval(hub.limits.beacon_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut jobs = Vec::new();
        loop {
            let due = tokio::select! {
                biased;
                _ = tick.tick() => true,
                () = hub.beacon_now.notified() => true,
                count = self.queue.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    false
                }
            };
            // While the broker is away a round takes longer than the next beacon's turn: what waits must go along with
            // the beacons, or it would wait behind them for ever.
            while due && jobs.len() < BATCH {
                let Ok(job) = self.queue.try_recv() else {
                    break;
                };
                jobs.push(job);
            }
            self.rounds(hub, std::mem::take(&mut jobs), due).await;
        }
    }

    /// All of these jobs, and where they are due a beacon in every run, behind the first of them.
    async fn rounds(&mut self, hub: &Hub, jobs: Vec<Job>, mut due: bool) {
        self.follow_lanes(hub);
        let mut rest = jobs.into_iter().peekable();
        while due || rest.peek().is_some() {
            let mut round = InFlightBatch::new(hub.started.elapsed());
            let mut count = 0;
            let mut refused = Vec::new();
            while let Some(job) =
                rest.next_if(|job| count == 0 || count + job.messages.len() <= BATCH)
            {
                count += job.messages.len();
                self.admit(hub, &mut round, job, &mut refused);
            }
            if std::mem::take(&mut due) {
                self.beacons(hub, &mut round);
            }
            self.reply(hub, refused).await;
            self.carry(hub, round).await;
        }
    }

    /// A job's messages, numbered; those that can't be published are answered at once and have no number.
    fn admit(
        &mut self,
        hub: &Hub,
        round: &mut InFlightBatch,
        job: Job,
        refused: &mut Vec<Answered>,
    ) {
        let job = early(job);
        let late = job.deadline <= Instant::now();
        let of = round.job(job.reply_to, job.messages.len(), job.bytes);
        for (place, outgoing) in job.messages.into_iter().enumerate() {
            let owner = (of, place);
            let size = outgoing.data.len();
            let sequence = hub.sequence_of(&outgoing.channel);
            let checked = match late {
                true => Err(too_late()),
                false if !self.sequencer.has_room(&sequence) => Err(too_many_channels()),
                false => hub.capabilities.check(hub.driver, &outgoing.channel, size),
            };
            if let Err(error) = checked {
                refused.extend(round.refuse(owner, error));
                continue;
            }
            let beacons = self.beacons_of(hub, &sequence);
            let place = Place {
                sequence,
                beacons,
                owner,
                deadline: job.deadline,
            };
            round.add(&mut self.sequencer, place, outgoing);
        }
    }

    fn beacons_of(&mut self, hub: &Hub, sequence: &Sequence) -> Channel {
        if let Sequence::Channel(_) = sequence {
            return beacon::CHANNEL.into();
        }
        let known = self.beacons.entry(sequence.clone());
        let channel = known.or_insert_with(|| beacon::channel(&*hub.backplane, sequence));
        Channel::clone(channel)
    }

    /// Where lanes were added, names fall into other lanes than before.
    fn follow_lanes(&mut self, hub: &Hub) {
        let falls = |it: (&Sequence, &Channel)| hub.sequence_of(it.1) == *it.0;
        if !self.beacons.iter().all(falls) {
            tracing::info!("the broker's log has other lanes than before");
            self.beacons.clear();
            self.sequencer.level_lanes();
        }
    }

    /// Publishes a round until all of it is answered.
    async fn carry(&mut self, hub: &Hub, mut round: InFlightBatch) {
        let mut pause = FIRST_PAUSE;
        while let Some(deadline) = round.first_deadline() {
            let publishing = hub.backplane.publish(round.batch());
            // An answer that never comes is an answer: unknown.
            let answers = timeout_at(deadline + GRACE, publishing).await;
            let mut done = round.answers(
                answers.unwrap_or_default(),
                &mut self.sequencer,
                |sequence, origin| hub.beacon_monitor().acknowledged(sequence, origin.number),
            );
            done.extend(round.expire(Instant::now(), &mut self.sequencer));
            self.reply(hub, done).await;
            let Some(deadline) = round.first_deadline() else {
                break;
            };
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            let late = round.expire(Instant::now(), &mut self.sequencer);
            self.reply(hub, late).await;
        }
        hub.counts
            .retries
            .fetch_add(round.retried, Ordering::Relaxed);
    }

    /// A beacon in every sequence that this instance watches, and more where many channels' last numbers are to be told.
    fn beacons(&mut self, hub: &Hub, round: &mut InFlightBatch) {
        let now = std::time::Instant::now();
        self.sequencer.sweep(now);
        let connected = hub.health_state.connected_for();
        let sequences = hub.beacon_monitor().sequences();
        let foreign = hub.log.window().placements().has_foreign();
        for sequence in sequences {
            let channel = self.beacons_of(hub, &sequence);
            let generation = match sequence {
                Sequence::Lane(lane) => hub.log.generations().of(lane),
                Sequence::Channel(_) => Default::default(),
            };
            for nth in 0..MOST_TAILS / TAILS {
                let tails = match sequence {
                    Sequence::Lane(_) => Vec::new(),
                    Sequence::Channel(_) => self.sequencer.tails(now, TAILS),
                };
                if nth > 0 && tails.is_empty() {
                    break;
                }
                let channel = Channel::clone(&channel);
                let number = round.beacon(&mut self.sequencer, &sequence, channel, |beacon| {
                    beacon.connected = Some(connected.as_millis() as u64);
                    beacon.generation = generation;
                    beacon.foreign = foreign;
                    beacon.tails = tails;
                });
                hub.beacon_monitor().sent(&sequence, number, now);
            }
        }
    }

    async fn reply(&self, hub: &Hub, done: Vec<Answered>) {
        let mut mails: Vec<Vec<PublishedMail>> = Vec::new();
        mails.resize_with(hub.shards.len(), Vec::new);
        for answered in done {
            let Answered {
                reply_to,
                answers,
                bytes,
            } = answered;
            self.waiting.leave(answers.len(), bytes);
            let place = |stored: Stored| stored.map(|(at, of)| hub.log.place(at, of));
            let mut answers: Vec<_> = answers.into_iter().map(|it| it.map(place)).collect();
            match reply_to {
                // A caller that has gone away wants no answer.
                ReplyTo::Caller(caller) => _ = caller.send(answers),
                ReplyTo::Session {
                    shard,
                    key,
                    reference,
                } => {
                    let answer = answers.pop().unwrap_or_else(|| Err(super::unanswered()));
                    mails[shard].push(PublishedMail {
                        key,
                        reference,
                        result: answer,
                    });
                }
            }
        }
        for (shard, answers) in hub.shards.iter().zip(mails) {
            if !answers.is_empty() {
                // A shard that is gone has no sessions.
                _ = shard.send(Mail::Answered(answers)).await;
            }
        }
    }
}

/// Answers before the broker has, where that is the fault to be shown.
fn early(mut job: Job) -> Job {
    if sabotage::acknowledges_early() {
        let (unheard, _) = oneshot::channel();
        let reply_to = std::mem::replace(&mut job.reply_to, ReplyTo::Caller(unheard));
        match reply_to {
            ReplyTo::Caller(caller) => {
                let all = job.messages.iter().map(|_| Ok(None));
                _ = caller.send(all.collect());
            }
            session @ ReplyTo::Session { .. } => job.reply_to = session,
        }
    }
    job
}

fn too_many_channels() -> Error {
    let message = "this instance publishes to too many channels (publish_channels); not published";
    Error::new(ErrorKind::Unavailable, "hub", message)
}

fn too_late() -> Error {
    let message =
        "the broker was busy or away for the whole time that a publish may wait; not published";
    Error::new(ErrorKind::Unavailable, "hub", message)
}
