//! The publisher: one task that writes every publication, many to a pipeline, on one connection.
//!
//! One task and one connection, because that is what keeps each publisher's order. It reconnects
//! and never retries: a publication that may have been sent is answered `Unknown`, and only the hub
//! may send it again, with the same number. Both backends use it; it must not know what a command
//! says, which is [`crate::pipeline`]'s matter.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use hubplane_backplane::{Error, Receipt, Result};
use redis::aio::MultiplexedConnection;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::unconstrained,
    time::{Instant, timeout},
};

use crate::{
    backend::NAME,
    config::Config,
    connection::Link,
    dial::Dialer,
    failure,
    pipeline::{Answered, Batch, Item, unknown},
    socket::Meter,
};
use hubplane_kit::Backoff;
use hubplane_kit::LogLimiter;

/// Publications, and about how many bytes of them, in one pipeline; also in one job. Enough that
/// the round trip no longer bounds the rate, and few enough that one answer comes within
/// milliseconds.
pub(crate) const PIPELINE: usize = 256;
pub(crate) const PIPELINE_BYTES: usize = 1024 * 1024;
/// Pipelines on their way at a time. More would only lengthen the connection's queue, where nothing
/// can be given up.
const WINDOW: usize = 4;
/// How long Redis may take to answer a pipeline; then the connection counts as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How long what is on its way may still be answered once the backend closes.
const FAREWELL: Duration = Duration::from_secs(1);

/// Publications of one call, up to a pipeline, answered together. Dropping it unanswered tells the
/// caller `Unknown`, or that nothing was sent if the ticket wasn't taken.
pub(crate) struct Job {
    pub(crate) items: Vec<Item>,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) done: oneshot::Sender<Vec<Result<Receipt>>>,
}

/// Whether a job was handed over, decided once: either the writer takes it, or the caller gives it up.
#[derive(Debug, Default)]
pub(crate) struct Ticket(AtomicU8);

impl Ticket {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Moves from waiting to `state`; returns false if the other side was faster.
    fn settle(&self, state: u8) -> bool {
        self.0
            .compare_exchange(Self::WAITING, state, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// For the writer, right before it sends. Returns false if the caller has given the job up: it
    /// must not be sent then.
    pub(crate) fn take(&self) -> bool {
        self.settle(Self::TAKEN)
    }

    /// For the caller, when it stops waiting. Returns false if it is too late: the job is on its
    /// way, so its outcome is unknown. May be called twice.
    pub(crate) fn give_up(&self) -> bool {
        self.settle(Self::GIVEN_UP) || self.0.load(Ordering::Acquire) == Self::GIVEN_UP
    }
}

/// What the publishing task owns.
pub(crate) struct Writer {
    pub(crate) dialer: Arc<Dialer>,
    /// For streams in a Cluster, the slot of the stream that it writes to; otherwise any node will
    /// do.
    pub(crate) slot: Option<u16>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) closed: watch::Receiver<bool>,
    /// Bounds the log lines about what Redis refuses, since clients can cause them.
    pub(crate) refusals: LogLimiter,
}

/// The pipelines that have no answer yet. Each gives Redis's words if it refused any publication,
/// or, as an error, why the connection can no longer be used.
type InFlight = FuturesUnordered<BoxFuture<'static, Result<Option<String>, String>>>;

/// Returns once the backend is closed or dropped.
pub(crate) async fn closing(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

/// Why the writer stopped using a connection.
enum End {
    Lost(String),
    Closed,
}

impl Writer {
    /// Publishes until the backend is closed, over this connection and those that come after it.
    pub(crate) async fn run(mut self, mut link: Link) {
        let mut backoff = Backoff::default();
        loop {
            let up = Instant::now();
            let mut in_flight = InFlight::new();
            match self.serve(&mut link, &mut in_flight).await {
                End::Closed => {
                    let answers = in_flight.for_each(|_| async {});
                    // Whoever is not answered by then learns `Unknown`, because its job is dropped.
                    let _ = timeout(FAREWELL, answers).await;
                    return;
                }
                End::Lost(reason) => {
                    link.abort();
                    backoff.lost(up);
                    tracing::warn!(backend = NAME, "publisher: {reason}");
                    // The ended connection answers each of these with an error.
                    in_flight.for_each(|_| async {}).await;
                    let Some(again) = self.reconnect(&mut backoff).await else {
                        return;
                    };
                    link = again;
                }
            }
        }
    }

    /// Sends jobs over one connection until it is lost or the backend closes. Must not wait for
    /// anything but in the `select!`: a node that was demoted has to be left at once.
    async fn serve(&mut self, link: &mut Link, in_flight: &mut InFlight) -> End {
        let (connection, meter) = (link.connection.clone(), Arc::clone(&link.meter));
        let dialer = Arc::clone(&self.dialer);
        let lost = dialer.lost(link);
        tokio::pin!(lost);
        loop {
            tokio::select! {
                // A lost connection comes first: a job that is taken from the queue now would only
                // become `Unknown`.
                biased;
                reason = &mut lost => return End::Lost(reason),
                () = closing(&mut self.closed) => return End::Closed,
                Some(answered) = in_flight.next(), if !in_flight.is_empty() => {
                    match answered {
                        Ok(refusal) => self.note(refusal),
                        Err(reason) => return End::Lost(reason),
                    }
                }
                job = self.jobs.recv(), if in_flight.len() < WINDOW => {
                    let Some(job) = job else { return End::Closed };
                    let jobs = gather(&mut self.jobs, job);
                    // If nothing else is on its way and the socket takes no byte, this pipeline was
                    // surely not sent; then the answer can be `Unavailable`, which the hub may
                    // retry at once.
                    let alone = in_flight.is_empty().then(|| meter.written());
                    let config = Arc::clone(&self.dialer.config);
                    let sending = send(connection.clone(), Arc::clone(&meter), jobs, alone, config);
                    // The first poll puts the pipeline into the connection's queue, which has room and, without
                    // the runtime's constraint, does not defer: this is what keeps the order.
                    let mut answer: BoxFuture<'static, _> = Box::pin(unconstrained(sending));
                    match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
                        Poll::Pending => in_flight.push(answer),
                        Poll::Ready(Ok(refusal)) => self.note(refusal),
                        Poll::Ready(Err(reason)) => return End::Lost(reason),
                    }
                }
            }
        }
    }

    /// Logs what Redis refused to publish, in its own words, at most once in ten seconds.
    fn note(&mut self, refusal: Option<String>) {
        if let Some(reason) = refusal
            && let Some(count) = self.refusals.due()
        {
            tracing::warn!(backend = NAME, count, "Redis refuses to publish: {reason}");
        }
    }

    /// Connects until it succeeds; returns `None` once the backend closes. Jobs that come meanwhile
    /// wait for the try in progress and share its fate. So a publication right after `Up` does not
    /// meet a publisher that is a moment behind the subscriber.
    async fn reconnect(&mut self, backoff: &mut Backoff) -> Option<Link> {
        loop {
            let dialling = async {
                backoff.wait().await;
                self.dialer.dial(self.slot, None).await
            };
            let dialled = tokio::select! {
                dialled = dialling => dialled,
                () = closing(&mut self.closed) => return None,
            };
            match dialled {
                Ok(link) => {
                    let (node, elapsed) = (&link.node, backoff.elapsed());
                    tracing::info!(backend = NAME, %node, "publisher: back after {elapsed:?}");
                    return Some(link);
                }
                Err(error) => {
                    tracing::debug!(backend = NAME, "publisher: {error}");
                    let reason = error.message();
                    while let Ok(job) = self.jobs.try_recv() {
                        if job.ticket.take() {
                            answer_all(job, || {
                                failure::unavailable(format!("no connection: {reason}"))
                            });
                        }
                    }
                }
            }
        }
    }
}

/// Returns the jobs that go together with `first`: as many as wait, up to a full pipeline. Those
/// that were given up are left out, so the result may be empty.
fn gather(waiting: &mut mpsc::Receiver<Job>, first: Job) -> Vec<Job> {
    let (mut count, mut bytes) = (0, 0);
    let mut jobs = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        if job.ticket.take() {
            count += job.items.len();
            bytes += job.items.iter().map(|item| item.size).sum::<usize>();
            jobs.push(job);
        }
        if count >= PIPELINE || bytes >= PIPELINE_BYTES {
            break;
        }
        next = waiting.try_recv().ok();
    }
    jobs
}

/// Answers each publication of a job with the same error.
fn answer_all(job: Job, error: impl Fn() -> Error) {
    let results = job.items.iter().map(|_| Err(error())).collect();
    // A caller that no longer waits has dropped its end.
    let _ = job.done.send(results);
}

/// Sends one pipeline and answers its jobs; `alone` is the count of written bytes before it, if
/// nothing else is on its way. Returns Redis's words if it refused any publication, and an error if
/// the connection can no longer be used.
async fn send(
    mut connection: MultiplexedConnection,
    meter: Arc<Meter>,
    mut jobs: Vec<Job>,
    alone: Option<u64>,
    config: Arc<Config>,
) -> Result<Option<String>, String> {
    if jobs.is_empty() {
        return Ok(None);
    }
    let items = jobs.iter_mut().flat_map(|job| &mut job.items);
    let batch = Batch::new(items, &config);
    let count = batch.commands.len();
    let sending = connection.send_packed_commands(&batch.commands, 0, count);
    // Fewer answers than commands would be matched to the wrong publications, so that counts as no
    // answer.
    let answers = match timeout(ANSWER_LIMIT, sending).await {
        Ok(Ok(answers)) if answers.len() == count => answers,
        _ => {
            let unsent = alone == Some(meter.written());
            for job in jobs {
                answer_all(job, || match unsent {
                    true => failure::unavailable("the connection broke before anything was sent"),
                    false => unknown(),
                });
            }
            return Err("a publish was not answered".to_owned());
        }
    };
    let Answered {
        results,
        lost,
        refusal,
    } = batch.read(answers);
    let mut results = results.into_iter();
    for job in jobs {
        // Answers come in the order of the commands, which is that of the jobs and of their items.
        let results = results.by_ref().take(job.items.len()).collect();
        // A caller that no longer waits has dropped its end.
        let _ = job.done.send(results);
    }
    lost.map_or(Ok(refusal), Err)
}
