//! Carries batches to the broker: gives a lane's batch to the backplane again and again until all
//! of it is answered, and hands the answers back.
//!
//! This is the only place that retries; a backend never does. Retries keep their numbers, so
//! receivers recognise a message that came twice. What to try again is decided in
//! `in_flight_batch.rs`; here are the waiting, the log lines and the answers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use hubplane_backplane::Error;
use tokio::time::{sleep_until, timeout_at};

use super::{
    ReplyTo, Waiting,
    in_flight_batch::InFlightBatch,
    jobs::{Answered, Books, Stored},
};
use crate::{
    Hub,
    shard::{Mail, PublishedMail},
};

/// How much later than a message's deadline its broker's answer is still waited for: a late answer
/// is better than none.
const GRACE: Duration = Duration::from_millis(250);
/// The pause before the second try; each later one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long to wait between two log lines about what the broker does not take.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What the batches under way share. They run as futures of one task.
#[derive(Debug)]
pub(super) struct Carrier {
    /// The numbers and the open jobs.
    books: Mutex<Books>,
    /// What waits, to give room back when a job is answered.
    waiting: Arc<Waiting>,
    /// What the broker did not take, for the log.
    refusals: Mutex<Refusals>,
}

/// What the broker did not take since the last log line.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    logged: Option<Instant>,
}

/// Returns an error with the broker's own words, which stand in its source. For logs only.
fn words(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

impl Carrier {
    pub(super) const fn new(books: Books, waiting: Arc<Waiting>) -> Self {
        Self {
            books: Mutex::new(books),
            waiting,
            refusals: Mutex::new(Refusals {
                count: 0,
                logged: None,
            }),
        }
    }

    /// Returns the numbers and the open jobs. The lock is held for one step of a batch, never
    /// across an await.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a batch until all of it is answered or out of time. Returns then; the lane is free
    /// for its next batch.
    pub(super) async fn carry(&self, hub: &Hub, mut round: InFlightBatch) {
        let mut pause = FIRST_PAUSE;
        while let Some(deadline) = round.first_deadline() {
            let publishing = hub.backplane().publish(round.batch());
            // An answer that does not come in time counts as unknown: the broker may have the
            // messages.
            let answers = timeout_at((deadline + GRACE).into(), publishing).await;
            let refused = answers.iter().flatten().filter_map(|it| it.as_ref().err());
            self.log(refused);
            // Without any answer the last known reason stays.
            if let Ok(answers) = &answers {
                let refused = answers.iter().find_map(|it| it.as_ref().err());
                hub.health_state().refused(refused.map(words));
            }
            // In a block of its own, so that the lock is gone before the await below.
            let done = {
                let mut books = self.books();
                let mut done = round.answers(
                    answers.unwrap_or_default(),
                    &mut books,
                    |sequence, origin| hub.beacon_monitor().acknowledged(sequence, origin.number),
                );
                done.extend(round.expire(Instant::now(), &mut books));
                done
            };
            // In that lane, hubs may take such a number for a repetition.
            for (lane, origin) in round.strayed.drain(..) {
                hub.void_lane(lane, origin).await;
            }
            self.reply(hub, done).await;
            let Some(deadline) = round.first_deadline() else {
                break;
            };
            // A message's deadline may come before the next try.
            sleep_until(deadline.min(Instant::now() + pause).into()).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            // Some may have run out of time during the pause.
            let late = round.expire(Instant::now(), &mut self.books());
            self.reply(hub, late).await;
        }
        hub.counts()
            .retries
            .fetch_add(round.retried, Ordering::Relaxed);
    }

    /// Writes into the log now and then why the broker does not take messages, in its own words.
    /// Clients are told less, since these words may name hosts.
    fn log<'a>(&self, refused: impl Iterator<Item = &'a Error>) {
        let mut refused = refused.peekable();
        let Some(&first) = refused.peek() else {
            return;
        };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.count += refused.count() as u64;
        let now = Instant::now();
        if refusals
            .logged
            .is_none_or(|last| now - last >= BETWEEN_LINES)
        {
            refusals.logged = Some(now);
            let (count, reason) = (refusals.count, words(first));
            tracing::warn!(count, "the broker has not taken messages: {reason}");
        }
    }

    /// Hands answers to those who wait for them, one mail for each shard, and gives back the room
    /// that the messages took in the queue.
    pub(super) async fn reply(&self, hub: &Hub, done: Vec<Answered>) {
        let mut mails: Vec<Vec<PublishedMail>> = Vec::new();
        mails.resize_with(hub.shards().len(), Vec::new);
        for answered in done {
            let Answered {
                reply_to,
                answers,
                bytes,
            } = answered;
            self.waiting.leave(answers.len(), bytes);
            // A position without its message's fingerprint would not be recovered from.
            let place = |stored: Stored| stored.map(|(at, of)| hub.log().place(at, of));
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
        for (shard, answers) in hub.shards().iter().zip(mails) {
            if !answers.is_empty() {
                // A shard that is gone has no sessions.
                _ = shard.send(Mail::Answered(answers)).await;
            }
        }
    }
}
