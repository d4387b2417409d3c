//! The way to the broker: one task that numbers, batches and publishes what sessions and HTTP
//! requests hand in, in order, and that tries again within each message's deadline.
//!
//! What waits is bounded in messages and bytes; whoever finds it full is told at once. Nothing is
//! delivered to local clients from here: a message reaches them when it comes back from the broker.

mod carrier;
mod in_flight_batch;
mod jobs;
mod lane_queues;
mod lanes;
mod publish_loop;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hubplane_backplane::{Error, ErrorKind, Outgoing, Result};
use tokio::sync::{Notify, mpsc, oneshot};

pub(super) use self::publish_loop::PublishLoop;
use super::{
    command::{ErrorCode, Ref},
    key::Key,
};
use crate::{Hub, limits::Limits, position::ClientPosition, sequencer::Sequencer};

/// The hub's end of the publisher: where publications are handed in. Never waits.
pub(super) struct Publisher {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<Waiting>,
}

/// What waits for the broker's answer, against its limits.
#[derive(Debug)]
struct Waiting {
    /// Messages and bytes that wait now.
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The limits: `publish_messages` and `publish_bytes`.
    most_messages: usize,
    most_bytes: usize,
    /// How long a message may wait, `publish_timeout`.
    timeout: Duration,
    /// True once somebody waits until nothing is left. Nothing is signalled before.
    awaited: AtomicBool,
    /// Signalled when nothing is left.
    empty: Notify,
}

/// Messages that were handed in together and are answered together.
struct Job {
    messages: Vec<Outgoing>,
    bytes: usize,
    /// When the messages are out of time, whatever the broker has said by then.
    deadline: Instant,
    reply_to: ReplyTo,
}

/// Who is to be given the broker's answers.
#[derive(Debug)]
pub(super) enum ReplyTo {
    /// Whoever holds the other end; it gets one answer for each message, in their order.
    Caller(oneshot::Sender<Vec<Result<Option<ClientPosition>>>>),
    /// A session, for its one message.
    Session {
        shard: usize,
        key: Key,
        reference: Option<Ref>,
    },
}

/// The error for too much that waits for the broker: nothing was published.
#[derive(Clone, Copy, Debug)]
pub struct Overloaded;

impl Publisher {
    /// Returns the publisher, and the task that must run for it.
    pub(super) fn new(limits: &Limits, origin: u128) -> (Self, PublishLoop) {
        // Each job has at least one message, so the queue never holds more jobs than messages are allowed.
        let (jobs, queue) = mpsc::channel(limits.publish_messages.max(1));
        let waiting = Arc::new(Waiting::new(limits));
        let line = PublishLoop::new(
            queue,
            Arc::clone(&waiting),
            Sequencer::new(origin, limits.publish_channels),
        );
        (Self { jobs, waiting }, line)
    }

    /// Hands in messages to be published in this order. The answers go to `reply_to`, within
    /// `publish_timeout` and a short grace time.
    pub(super) fn offer(
        &self,
        messages: Vec<Outgoing>,
        reply_to: ReplyTo,
    ) -> std::result::Result<(), Overloaded> {
        // Counted like this in and out, so that the sum comes back to zero.
        let bytes = messages
            .iter()
            .map(|message| message.channel.len() + message.data.len())
            .sum();
        self.waiting.enter(messages.len(), bytes)?;
        // The time begins here: what waits in the queue waits for the client, too.
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

    /// Returns how many messages wait for the broker's answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.messages.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Waits until every message that was handed in is answered, whether the broker has it or not.
    /// New ones may be handed in at any time, so it means something only while the hub stops.
    pub async fn until_answered(&self) {
        self.publisher().waiting.until_empty().await;
    }
}

impl Waiting {
    /// Nothing waits yet.
    fn new(limits: &Limits) -> Self {
        Self {
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_messages: limits.publish_messages.max(1),
            most_bytes: limits.publish_bytes,
            timeout: limits.publish_timeout,
            awaited: AtomicBool::new(false),
            empty: Notify::new(),
        }
    }

    /// Takes room for messages that are handed in, or refuses them all.
    fn enter(&self, messages: usize, bytes: usize) -> std::result::Result<(), Overloaded> {
        // Added first and taken back if it is too much: two that come at once can't both slip in.
        let before = self.messages.fetch_add(messages, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // If nothing waits, messages are let in whatever their size. Otherwise a large batch could
        // never be published.
        let fits =
            before + messages <= self.most_messages && bytes_before + bytes <= self.most_bytes;
        if fits || before == 0 {
            return Ok(());
        }
        self.leave(messages, bytes);
        Err(Overloaded)
    }

    /// Gives back the room of messages that are answered.
    fn leave(&self, messages: usize, bytes: usize) {
        // Sequentially consistent, like what `until_empty` does the other way round: either it sees
        // the 0, or it is seen to wait.
        let before = self.messages.fetch_sub(messages, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before == messages && self.awaited.load(Ordering::SeqCst) {
            self.empty.notify_one();
        }
    }

    /// Waits until no message waits for an answer.
    async fn until_empty(&self) {
        self.awaited.store(true, Ordering::SeqCst);
        while self.messages.load(Ordering::SeqCst) > 0 {
            self.empty.notified().await;
        }
        // If others wait, too, the signal goes round.
        self.empty.notify_one();
    }
}

/// Returns the error for a message without an answer in time: it may be stored all the same.
fn unanswered() -> Error {
    Error::new(
        ErrorKind::Unknown,
        "hub",
        "the broker gave no answer in time; it may have the message",
    )
}

/// Returns an error of the backplane as a client is told it: never in the library's own words,
/// which may name hosts.
pub(super) fn told(error: &Error) -> (ErrorCode, String) {
    match error.kind() {
        ErrorKind::Rejected => (ErrorCode::Rejected, error.message().to_owned()),
        ErrorKind::Unknown => {
            let message = "the broker gave no answer in time; the message may be published: retry with the same id";
            (ErrorCode::Unknown, message.to_owned())
        }
        // Everything else means that nothing was stored.
        _ => (
            ErrorCode::Unavailable,
            "the broker is not reachable; nothing was published, retry later".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
