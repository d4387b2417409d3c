//! One connection that receives: deliveries in, batches out, acknowledgements and questions about the queue between.

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use hubplane_backplane::{Event, GapCause, Publication, Scope};
use lapin::{
    Channel, Consumer, ErrorKind,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    consume::Receiver,
    instance_queue::{Fate, InstanceQueue},
    link::Link,
    message::received,
};

/// How many messages the broker sends ahead of acknowledgements. lapin queues deliveries without a bound, so this is
/// the bound.
const PREFETCH: u16 = 1_000;
const ACK_AFTER: u64 = 100;
const ACK_WITHIN: Duration = Duration::from_millis(20);
/// The broker is asked about the queue this often, and twice a prefetch.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AFTER: u64 = PREFETCH as u64 / 2;
/// A broker that neither delivers nor answers for so long is taken for dead.
pub(crate) const SILENCE: Duration = Duration::from_millis(2_500);
/// After the broker took no token.
const TOKEN_PAUSE: Duration = Duration::from_secs(30);

/// A connection that receives.
#[derive(Debug)]
pub(crate) struct Reading {
    link: Link,
    channel: Channel,
    consumer: Consumer,
}

impl Reading {
    pub(crate) async fn start(link: Link, queue: &InstanceQueue) -> lapin::Result<Self> {
        let channel = link.channel().await?;
        let per_consumer = BasicQosOptions::default();
        channel.basic_qos(PREFETCH, per_consumer).await?;
        // Exclusive: another consumer that the broker still believes alive would get, and hold, half of the messages.
        let options = BasicConsumeOptions {
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let name = queue.name.as_str().into();
        let consumer = channel
            .basic_consume(name, "".into(), options, FieldTable::default())
            .await?;
        Ok(Self {
            link,
            channel,
            consumer,
        })
    }

    async fn ack(&self, progress: &mut Progress) -> Result<(), End> {
        progress.ack_due = None;
        if progress.acked == progress.taken {
            return Ok(());
        }
        let all = BasicAckOptions { multiple: true };
        let ack = self.channel.basic_ack(progress.taken, all);
        match timeout(SILENCE, ack).await {
            Ok(Ok(())) => progress.acked = progress.taken,
            Ok(Err(error)) => return Err(End::Broken(error.to_string())),
            Err(_) => return Err(End::silent()),
        }
        Ok(())
    }
}

/// Why a reading ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The backend was closed; what is to be deleted can be deleted over this connection.
    Stopped(Link),
    Broken(String),
    /// The queue can't be used any more.
    Unusable(String, GapCause),
}

impl End {
    fn silent() -> Self {
        Self::Broken("RabbitMQ does not answer".to_owned())
    }

    /// What the consumer's stream says when it has no message.
    fn of(delivery: Option<lapin::Error>) -> Self {
        match delivery {
            Some(error) if matches!(error.kind(), ErrorKind::ParsingError(_)) => Self::Unusable(
                "the queue holds a message that can't be read: its routing key or another name is not UTF-8"
                    .to_owned(),
                GapCause::Undecodable,
            ),
            Some(error) => Self::Broken(error.to_string()),
            None => Self::Broken("RabbitMQ ended the consumer: the queue was deleted, or its node is away".to_owned()),
        }
    }
}

/// What the broker said about the queue.
struct Answer {
    fate: Fate,
    token: bool,
}

type Question = BoxFuture<'static, lapin::Result<Answer>>;

/// Where a reading stands, in delivery tags, which count from 1 on each channel.
struct Progress {
    /// Handed to the hub.
    taken: u64,
    /// Acknowledged to the broker.
    acked: u64,
    ack_due: Option<Instant>,
    /// `acked` when the last question was asked.
    asked_at: u64,
    /// Up to here messages may be handed over. The ones behind may have waited in a full queue, from which others
    /// were dropped; the next answer tells. With a consumer that keeps up this is always far ahead.
    cleared: u64,
    ask_due: Instant,
    /// When to take the broker for dead, while a question is open.
    silent_at: Instant,
}

impl Progress {
    /// Whether a queue under load must be asked about, so that `cleared` stays ahead.
    fn ask_early(&self) -> bool {
        self.acked + u64::from(PREFETCH) >= self.cleared + ASK_AFTER
    }

    fn heard(&mut self) {
        self.silent_at = self.silent_at.max(Instant::now() + SILENCE);
    }
}

/// What is on its way to the hub.
struct Batch {
    publications: Vec<Publication>,
    /// Tags and names of those that can be known again.
    named: Vec<(u64, u64)>,
    last: u64,
    /// What came behind the messages, if it ends the reading.
    end: Option<End>,
}

/// The next answer; never, where nothing was asked.
async fn answer(question: &mut Option<Question>) -> lapin::Result<Answer> {
    match question {
        Some(open) => {
            let answer = open.await;
            *question = None;
            answer
        }
        None => pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

impl Receiver {
    /// Receives over one connection until it ends.
    pub(crate) async fn serve(&mut self, mut reading: Reading) -> End {
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        let now = Instant::now();
        let mut progress = Progress {
            taken: 0,
            acked: 0,
            ack_due: None,
            asked_at: 0,
            cleared: 0,
            ask_due: now,
            silent_at: now,
        };
        let mut question: Option<Question> = None;
        let mut batch: Option<Batch> = None;
        loop {
            if question.is_none() && (progress.ask_early() || progress.ask_due <= Instant::now()) {
                question = Some(self.ask(&reading, &mut progress));
            }
            let waiting = batch.is_some() || self.gap.is_some();
            let step = select! {
                biased;
                () = shared.stopped() => return End::Stopped(reading.link),
                () = shared.exchange_lost.notified() => Err(End::Unusable(
                    format!("the exchange {:?} was deleted", shared.config.exchange),
                    GapCause::QueueLost,
                )),
                () = shared.renew.notified() => Err(End::Unusable(
                    "the hub asked for another connection".to_owned(),
                    GapCause::QueueLost,
                )),
                answer = answer(&mut question) => self.learn(answer, &reading, &mut progress).await,
                permit = events.reserve(), if waiting => match (permit, self.gap.take()) {
                    (Err(_), _) => return End::Stopped(reading.link),
                    (Ok(permit), Some(cause)) => {
                        permit.send(Event::Gap { scope: Scope::All, cause });
                        Ok(())
                    }
                    (Ok(permit), None) => {
                        let batch = batch.take().expect("invariant: something was waiting");
                        self.hand_over(batch, permit, &reading, &mut progress).await
                    }
                },
                delivery = reading.consumer.next(), if !waiting && progress.taken < progress.cleared => {
                    progress.heard();
                    match delivery {
                        Some(Ok(first)) => {
                            batch = Some(self.gather(first, &mut reading, &progress));
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
                return end;
            }
        }
    }

    /// Takes what is there, up to what one acknowledgement covers.
    fn gather(&mut self, first: Delivery, reading: &mut Reading, progress: &Progress) -> Batch {
        let mut batch = Batch {
            publications: Vec::new(),
            named: Vec::new(),
            last: 0,
            end: None,
        };
        let mut next = Some(first);
        while let Some(delivery) = next.take() {
            let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
            let publication = received(delivery);
            if !self.redelivery.is_repeat(&publication, redelivered) {
                batch
                    .named
                    .extend(self.redelivery.name(&publication).map(|name| (tag, name)));
                batch.publications.push(publication);
            }
            batch.last = tag;
            if tag < progress.cleared && tag < progress.taken + ACK_AFTER {
                match reading.consumer.next().now_or_never() {
                    Some(Some(Ok(delivery))) => next = Some(delivery),
                    Some(other) => batch.end = Some(End::of(other.and_then(Result::err))),
                    None => {}
                }
            }
        }
        batch
    }

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
        for (tag, name) in batch.named {
            self.redelivery.handed_over(tag, name);
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

    /// Asks on the consumer's own channel, behind its acknowledgements: so the answer is as of when the broker had
    /// sent all that these allow.
    fn ask(&mut self, reading: &Reading, progress: &mut Progress) -> Question {
        let now = Instant::now();
        progress.asked_at = progress.acked;
        progress.silent_at = now + SILENCE;
        // The token may take long; a busy queue has no time for it.
        let put_token = !self.queue.token && !progress.ask_early() && self.token_due <= now;
        if put_token {
            progress.silent_at += SILENCE;
            self.token_due = now + TOKEN_PAUSE;
        }
        let (shared, channel) = (Arc::clone(&self.shared), reading.channel.clone());
        let mut queue = self.queue.clone();
        async move {
            if put_token {
                queue.token = queue.put_token(&shared.config).await;
            }
            let fate = queue.fate(&channel).await?;
            let token = queue.token;
            Ok(Answer { fate, token })
        }
        .boxed()
    }

    async fn learn(
        &mut self,
        answer: lapin::Result<Answer>,
        reading: &Reading,
        progress: &mut Progress,
    ) -> Result<(), End> {
        let answer = answer.map_err(|error| End::Broken(error.to_string()))?;
        self.queue.token = answer.token;
        if answer.token {
            self.token_due = Instant::now();
        }
        match answer.fate {
            Fate::Whole => {}
            Fate::Cut => {
                self.gap = Some(GapCause::Overflow);
                let forget = self.queue.forget_cut(&reading.channel);
                match timeout(SILENCE, forget).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(End::Broken(error.to_string())),
                    Err(_) => return Err(End::silent()),
                }
            }
            Fate::Lost => {
                return Err(End::Unusable(
                    "this instance's queue at RabbitMQ is gone".to_owned(),
                    GapCause::QueueLost,
                ));
            }
        }
        progress.cleared = progress.asked_at + u64::from(PREFETCH);
        progress.ask_due = Instant::now() + ASK_EVERY;
        self.redelivery.settled(progress.asked_at);
        Ok(())
    }
}
