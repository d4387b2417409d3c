//! The way to the broker: one task that batches what sessions and HTTP requests publish, in order.
//!
//! What waits is bounded in messages and bytes; who finds it full is told at once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hubplane_backplane::{Backplane, Error, ErrorKind, MessageId, Outgoing, Receipt, Result};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    command::{ErrorCode, Ref},
    session::Key,
    shard::{Mail, PublishedMail},
};
use crate::config::Limits;

/// Messages of one call to the backplane.
const BATCH: usize = 1_024;
/// What a backend may take beyond its own time limit before it is given up on.
const GRACE: Duration = Duration::from_secs(1);

/// The hub's end: where publications are handed in.
pub(super) struct Publisher {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<Waiting>,
    ids: Ids,
}

/// Message ids of this process: a random part and a running number.
#[derive(Debug)]
struct Ids {
    prefix: u64,
    next: AtomicU64,
}

/// What waits, against its limits.
#[derive(Debug)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    most_messages: usize,
    most_bytes: usize,
    timeout: Duration,
}

struct Job {
    messages: Vec<Outgoing>,
    bytes: usize,
    deadline: Instant,
    reply_to: ReplyTo,
}

/// Who is to learn the broker's answers.
pub(super) enum ReplyTo {
    /// Whoever holds the other end; one answer for each message.
    Caller(oneshot::Sender<Vec<Result<Receipt>>>),
    /// A session's one publication.
    Session {
        shard: usize,
        key: Key,
        reference: Option<Ref>,
    },
}

/// Too much waits for the broker.
#[derive(Clone, Copy, Debug)]
pub struct Overloaded;

impl Publisher {
    /// The publisher, and the task that it needs.
    pub(super) fn new(limits: &Limits) -> (Self, Line) {
        // Each job has at least one message, so the queue never holds more jobs than messages are allowed.
        let (jobs, queue) = mpsc::channel(limits.publish_messages.max(1));
        let waiting = Arc::new(Waiting {
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_messages: limits.publish_messages.max(1),
            most_bytes: limits.publish_bytes,
            timeout: limits.publish_timeout,
        });
        let ids = Ids {
            prefix: getrandom::u64().unwrap_or_default(),
            next: AtomicU64::new(1),
        };
        (
            Self {
                jobs,
                waiting: Arc::clone(&waiting),
                ids,
            },
            Line { queue, waiting },
        )
    }

    /// Hands in messages to publish in this order; the answers go to `reply_to`. Those without an id get one.
    pub(super) fn offer(
        &self,
        mut messages: Vec<Outgoing>,
        reply_to: ReplyTo,
    ) -> std::result::Result<(), Overloaded> {
        let bytes = messages
            .iter()
            .map(|message| message.channel.len() + message.data.len())
            .sum();
        self.waiting.enter(messages.len(), bytes)?;
        for message in &mut messages {
            message.id.get_or_insert_with(|| self.ids.next());
        }
        let deadline = Instant::now() + self.waiting.timeout;
        let count = messages.len();
        self.jobs
            .try_send(Job {
                messages,
                bytes,
                deadline,
                reply_to,
            })
            .map_err(|_full_or_closed| {
                self.waiting.leave(count, bytes);
                Overloaded
            })
    }
}

impl Ids {
    fn next(&self) -> MessageId {
        format!(
            "{:016x}{:x}",
            self.prefix,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
        .into()
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Waiting {
    fn enter(&self, messages: usize, bytes: usize) -> std::result::Result<(), Overloaded> {
        let before = self.messages.fetch_add(messages, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One that finds nothing waiting is let in whatever its size, or it would never get through.
        let fits =
            before + messages <= self.most_messages && bytes_before + bytes <= self.most_bytes;
        if fits || before == 0 {
            return Ok(());
        }
        self.leave(messages, bytes);
        Err(Overloaded)
    }

    fn leave(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The task's end: the line of jobs.
pub(super) struct Line {
    queue: mpsc::Receiver<Job>,
    waiting: Arc<Waiting>,
}

impl Line {
    /// Publishes until the hub is gone: one batch at the backplane at a time, and what comes meanwhile is the next.
    pub(super) async fn run(mut self, backplane: &dyn Backplane, shards: &[mpsc::Sender<Mail>]) {
        let mut jobs = Vec::new();
        while self.queue.recv_many(&mut jobs, BATCH).await > 0 {
            let mut rest = std::mem::take(&mut jobs).into_iter().peekable();
            while rest.peek().is_some() {
                let mut round = Vec::new();
                let mut count = 0;
                while let Some(job) =
                    rest.next_if(|job| count == 0 || count + job.messages.len() <= BATCH)
                {
                    count += job.messages.len();
                    round.push(job);
                }
                self.publish(backplane, shards, round).await;
            }
        }
    }

    async fn publish(
        &self,
        backplane: &dyn Backplane,
        shards: &[mpsc::Sender<Mail>],
        round: Vec<Job>,
    ) {
        let now = Instant::now();
        let mut batch = Vec::new();
        let mut counts = Vec::with_capacity(round.len());
        let mut latest = now;
        let mut jobs = Vec::with_capacity(round.len());
        for mut job in round {
            // Whoever is late already was never sent.
            let messages = std::mem::take(&mut job.messages);
            let live = job.deadline > now;
            counts.push((messages.len(), live));
            if live {
                latest = latest.max(job.deadline);
                batch.extend(messages);
            }
            jobs.push(job);
        }
        let sent = batch.len();
        let answers = match sent {
            0 => Vec::new(),
            _ => timeout_at(latest + GRACE, backplane.publish(batch))
                .await
                .unwrap_or_default(),
        };
        let mut answers = answers.into_iter();
        let mut mails: Vec<Vec<PublishedMail>> = Vec::new();
        mails.resize_with(shards.len(), Vec::new);
        for (job, (count, live)) in jobs.into_iter().zip(counts) {
            self.waiting.leave(count, job.bytes);
            let mut next = || match live {
                true => answers.next().unwrap_or_else(|| Err(unanswered())),
                false => Err(too_late()),
            };
            match job.reply_to {
                // A caller that has gone away wants no answer.
                ReplyTo::Caller(caller) => _ = caller.send((0..count).map(|_| next()).collect()),
                ReplyTo::Session {
                    shard,
                    key,
                    reference,
                } => {
                    let result = next().map(|receipt| receipt.position());
                    mails[shard].push(PublishedMail {
                        key,
                        reference,
                        result,
                    });
                }
            }
        }
        for (shard, answers) in shards.iter().zip(mails) {
            if !answers.is_empty() {
                // A shard that is gone has no sessions.
                _ = shard.send(Mail::Answered(answers)).await;
            }
        }
    }
}

fn too_late() -> Error {
    let message =
        "the broker was busy or away for the whole time that a publish may wait; not published";
    Error::new(ErrorKind::Unavailable, "hub", message)
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::Unknown,
        "hub",
        "the broker gave no answer in time; it may have the message",
    )
}

/// An error of the backplane as a client is told it: never with the library's own words, which may name hosts.
pub(super) fn told(error: &Error) -> (ErrorCode, String) {
    match error.kind() {
        ErrorKind::Rejected => (ErrorCode::Rejected, error.message().to_owned()),
        ErrorKind::Unknown => {
            let message = "the broker gave no answer in time; the message may be published: retry with the same id";
            (ErrorCode::Unknown, message.to_owned())
        }
        _ => (
            ErrorCode::Unavailable,
            "the broker is not reachable; nothing was published, retry later".to_owned(),
        ),
    }
}
