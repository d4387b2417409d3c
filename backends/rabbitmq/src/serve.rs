//! The receiving task's work on one connection: deliveries in, batches out, acknowledgements and
//! questions about the queue between.
//!
//! The broker drops messages of a full queue without a word, so nothing is handed to the hub before
//! it is certain that nothing in front of it was dropped. That is what the questions are for: each
//! answer clears a prefetch of messages. While the consumer keeps up, the answers are far ahead and
//! cost no time. Between connections the task is in [`crate::consume`].

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use hubplane_backplane::{Event, GapCause, Publication, Scope};
use lapin::message::Delivery;
use tokio::{
    select,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{
    guard::{Round, Token, round},
    link::{NOT_FOUND, reply_code},
    message::received,
    progress::{PREFETCH, Progress},
    reading::{End, Reading},
    receiver::Receiver,
    redelivery::Mark,
    shared::{ASK_EVERY, SILENCE},
    witness::fence,
};

/// Messages after which an acknowledgement is sent; also the most in one batch.
const ACK_AFTER: u64 = 100;
/// How long a message that was taken may wait for its acknowledgement, so that few come again after
/// a lost connection.
const ACK_WITHIN: Duration = Duration::from_millis(20);
/// How long a redelivered message waits for the ones behind it, which may tell what it is.
const LOOK_AHEAD: Duration = Duration::from_millis(200);
/// Bytes. A queue that is shorter than this may be full although its consumer keeps up: RabbitMQ
/// lets some hundred messages wait all the same.
const SHORT: u64 = 1024 * 1024;

/// A question to the broker; the answer is true if the queue and its witness are there.
type Question = BoxFuture<'static, lapin::Result<bool>>;

/// Messages on their way to the hub, without those that were handed over before.
struct Batch {
    publications: Vec<Publication>,
    /// The marks of all messages by delivery tag, also of those that are dropped as repetitions:
    /// they may come again, too.
    marks: Vec<(u64, Mark)>,
    /// The last delivery tag, up to which this batch is acknowledged.
    last: u64,
    /// What came behind the messages, if it ends the reading.
    end: Option<End>,
}

/// Returns the result of what is under way; waits for ever if nothing is. For `select!`.
async fn result<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    match under_way {
        Some(open) => {
            let result = open.await;
            *under_way = None;
            result
        }
        None => pending().await,
    }
}

/// Waits until the time; for ever if there is none.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

impl Receiver {
    /// Receives over one connection until it ends, and returns why. Everything that waits is an arm
    /// of the one `select!`, in the order of its urgency: a stop, what makes the queue unusable,
    /// answers, and only then messages.
    pub(crate) async fn serve(&mut self, mut reading: Reading) -> End {
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        let mut progress = Progress::new();
        let mut question: Option<Question> = None;
        let mut guarding: Option<BoxFuture<'static, Round>> = None;
        let mut batch: Option<Batch> = None;
        loop {
            // One question at a time, as soon as one is due.
            if question.is_none()
                && (progress.unproved || progress.ask_early() || progress.ask_due <= Instant::now())
            {
                question = Some(self.ask(&reading, &mut progress));
            }
            if guarding.is_none() && self.round_due <= Instant::now() {
                let (queue, probe) = (self.queue.clone(), self.probe.clone());
                let next = round(Arc::clone(&shared), reading.link.node, queue, probe);
                // If this round is lost with the connection, the message that it leaves in the
                // probe must prove nothing.
                self.probe.interrupted();
                guarding = Some(next.boxed());
            }
            // A gap may always be told; messages only if the queue is known to be whole.
            let may_hand_over = !progress.unproved && progress.is_fresh();
            let waiting = batch.is_some() || self.gap.is_some();
            let step = select! {
                biased;
                () = shared.stopped() => return End::Stopped(Box::new(reading.link)),
                () = shared.exchange_lost.notified() => Err(End::Unusable(
                    format!("the exchange {:?} was deleted", shared.config.exchange),
                    GapCause::QueueLost,
                )),
                () = shared.renew.notified() => Err(End::Unusable(
                    "the hub asked for another connection".to_owned(),
                    GapCause::QueueLost,
                )),
                () = shared.leave.notified() => {
                    Err(End::Broken("nothing can be published at this node".to_owned()))
                }
                answer = result(&mut question) => self.learn(answer, &mut reading, &mut progress).await,
                round = result(&mut guarding) => self.guarded(round),
                permit = events.reserve(), if waiting && (self.gap.is_some() || may_hand_over) => match (permit, self.gap.take()) {
                    (Err(_), _) => return End::Stopped(Box::new(reading.link)),
                    (Ok(permit), Some(cause)) => {
                        permit.send(Event::Gap { scope: Scope::All, cause });
                        Ok(())
                    }
                    // The process may have stood still while it waited for this.
                    (Ok(_), None) if !progress.is_fresh() => Ok(()),
                    (Ok(permit), None) => {
                        let batch = batch.take().expect("invariant: something was waiting");
                        self.hand_over(batch, permit, &reading, &mut progress).await
                    }
                },
                delivery = reading.consumer.next(), if !waiting && progress.taken < progress.cleared => {
                    progress.heard();
                    match delivery {
                        Some(Ok(first)) => {
                            batch = Some(self.gather(first, &mut reading, &progress).await);
                            progress.unproved = self.is_cut_short();
                            Ok(())
                        }
                        other => Err(End::of(other.and_then(Result::err))),
                    }
                }
                () = at(progress.ack_due) => reading.ack(&mut progress).await,
                () = sleep_until(progress.ask_due), if question.is_none() => reading.ack(&mut progress).await,
                () = sleep_until(progress.silent_at), if question.is_some() => Err(End::silent()),
            };
            if let Err(end) = step {
                self.redelivery.acknowledging(progress.acknowledging);
                return end;
            }
        }
    }

    /// Returns true if the queue may drop messages although this instance keeps up: it is so short
    /// that it is full whenever the broker hesitates for a moment. Then each batch costs a
    /// question.
    fn is_cut_short(&self) -> bool {
        self.shared.config.max_bytes < SHORT || self.probe.is_cut_short()
    }

    /// Returns a batch of what has arrived, up to what one acknowledgement covers, without what was
    /// handed over before.
    async fn gather(
        &mut self,
        first: Delivery,
        reading: &mut Reading,
        progress: &Progress,
    ) -> Batch {
        let (mut taken, mut end, mut last) = (Vec::new(), None, 0);
        let look_ahead = Instant::now() + LOOK_AHEAD;
        let mut next = Some(first);
        while let Some(delivery) = next.take() {
            let redelivered = delivery.redelivered;
            last = delivery.delivery_tag;
            let publication = received(delivery);
            let mark = self.redelivery.mark(&publication);
            taken.push((last, publication, (mark, redelivered)));
            if last < progress.cleared && last < progress.taken + ACK_AFTER {
                let more = reading.consumer.next();
                // Whether this message was handed over before may show only by its neighbours; for
                // those it waits a moment.
                let more = match redelivered && self.redelivery.is_unsure(mark) {
                    true => timeout_at(look_ahead, more).await.ok(),
                    false => more.now_or_never(),
                };
                match more {
                    Some(Some(Ok(delivery))) => next = Some(delivery),
                    Some(other) => end = Some(End::of(other.and_then(Result::err))),
                    None => {}
                }
            }
        }
        let marks: Vec<_> = taken.iter().map(|(_, _, mark)| *mark).collect();
        let repeats = self.redelivery.repeats(&marks).into_iter();
        let tags = taken.iter().map(|(tag, _, (mark, _))| (*tag, *mark));
        Batch {
            marks: tags.collect(),
            publications: (taken.into_iter().zip(repeats))
                .filter_map(|((_, publication, _), repeat)| (!repeat).then_some(publication))
                .collect(),
            last,
            end,
        }
    }

    /// Puts a batch into the hub's queue of events, and acknowledges it at once or a little later.
    async fn hand_over(
        &mut self,
        batch: Batch,
        permit: tokio::sync::mpsc::Permit<'_, Event>,
        reading: &Reading,
        progress: &mut Progress,
    ) -> Result<(), End> {
        if !batch.publications.is_empty() {
            permit.send(Event::Published(batch.publications));
        }
        for (tag, mark) in batch.marks {
            self.redelivery.taken(tag, mark);
        }
        progress.taken = batch.last;
        if let Some(end) = batch.end {
            return Err(end);
        }
        if progress.taken - progress.acked >= ACK_AFTER {
            return reading.ack(progress).await;
        }
        progress.ack_due.get_or_insert(Instant::now() + ACK_WITHIN);
        Ok(())
    }

    /// Asks on the consumer's own channel, behind its acknowledgements: so the answer is of the
    /// moment when the broker had sent all that these allow. Then asks on the witness's channel, so
    /// that the witness has delivered what the queue had dropped by then.
    fn ask(&self, reading: &Reading, progress: &mut Progress) -> Question {
        progress.asked_at = progress.acked;
        progress.proving = progress.unproved;
        progress.asked = Instant::now();
        progress.silent_at = Instant::now() + SILENCE;
        let (channel, witness) = (reading.channel.clone(), reading.witness.channel.clone());
        let queue = self.queue.clone();
        async move {
            if !queue.exists(&channel).await? {
                return Ok(false);
            }
            match fence(&witness, &queue).await {
                Ok(()) => Ok(true),
                Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(false),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    /// Acts on an answer: clears the messages up to a prefetch behind the acknowledgements. If the
    /// witness tells of drops, a gap comes before them.
    async fn learn(
        &mut self,
        answer: lapin::Result<bool>,
        reading: &mut Reading,
        progress: &mut Progress,
    ) -> Result<(), End> {
        let broken = |error: lapin::Error| End::Broken(error.to_string());
        let heard = match answer.map_err(broken)? {
            true => reading.witness.hear().await.map_err(broken)?,
            false => None,
        };
        let Some(heard) = heard else {
            return Err(End::Unusable(
                "this instance's queue at RabbitMQ is gone".to_owned(),
                GapCause::QueueLost,
            ));
        };
        self.queue.token = heard.tokens.last().copied().or(self.queue.token);
        if !heard.dropped.is_empty() {
            self.cut(&heard.dropped);
            let forget = reading.witness.forget_dropped();
            match timeout(SILENCE, forget).await {
                Ok(forgotten) => forgotten.map_err(broken)?,
                Err(_) => return Err(End::silent()),
            }
        }
        // As of when it was asked: what has happened to the connection since, the answer doesn't
        // tell.
        progress.alive_at = progress.asked;
        if std::mem::take(&mut progress.proving) {
            progress.unproved = false;
        }
        progress.cleared = progress.asked_at + u64::from(PREFETCH);
        progress.ask_due = Instant::now() + ASK_EVERY;
        // The question went behind these acknowledgements on one channel, so the broker has them.
        self.redelivery.settled(progress.asked_at);
        Ok(())
    }

    /// Acts on a round of the guard. A witness that can't be reached makes the queue unusable: its
    /// drops would go unseen.
    fn guarded(&mut self, round: Round) -> Result<(), End> {
        self.probe = round.probe;
        self.round_due = Instant::now() + round.pause;
        match round.token {
            Token::Put | Token::NotTaken => Ok(()),
            Token::Blind => Err(End::Unusable(
                "what this instance's queue drops no longer reaches its witness: the exchange for it, or its binding, \
                 was deleted"
                    .to_owned(),
                GapCause::QueueLost,
            )),
        }
    }
}
