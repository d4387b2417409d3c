//! The publisher: one task that writes every publication, so that order is kept, many to a pipeline.

use std::{
    collections::{BTreeSet, HashMap},
    future::poll_fn,
    mem,
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
use hubplane_backplane::{Error, ErrorKind, Position, Receipt, Result};
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::unconstrained,
    time::{Instant, timeout},
};

use crate::{
    NAME,
    config::Config,
    connection::{Backoff, Link, dial},
    failure,
    socket::Meter,
    streams::{keys::Keys, log},
};

/// Publications, and about how many bytes of them, in one pipeline; also in one job.
pub(crate) const PIPELINE: usize = 256;
pub(crate) const PIPELINE_BYTES: usize = 1024 * 1024;
/// Pipelines on their way at a time.
const WINDOW: usize = 4;
/// How long Redis may take to answer a pipeline; then the connection counts as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How long what is on its way may still be answered once the backend closes.
const FAREWELL: Duration = Duration::from_secs(1);

/// One publication as it goes to Redis.
pub(crate) struct Item {
    pub(crate) command: Cmd,
    /// Bytes of data, the envelope included.
    pub(crate) size: usize,
    /// Where there is a log: the stream.
    pub(crate) lane: Option<u32>,
}

/// Publications of one call, answered together.
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

    fn settle(&self, state: u8) -> bool {
        self.0
            .compare_exchange(Self::WAITING, state, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// By the writer, right before it sends; `false`: nobody wants it sent any more.
    pub(crate) fn take(&self) -> bool {
        self.settle(Self::TAKEN)
    }

    /// By the caller, when it stops waiting; `false`: it is too late, the job is on its way.
    pub(crate) fn give_up(&self) -> bool {
        self.settle(Self::GIVEN_UP) || self.0.load(Ordering::Acquire) == Self::GIVEN_UP
    }
}

pub(crate) fn unknown() -> Error {
    Error::new(
        ErrorKind::Unknown,
        NAME,
        "Redis was asked to publish and gave no answer",
    )
}

/// The task's state.
pub(crate) struct Writer {
    pub(crate) config: Arc<Config>,
    /// In a Cluster, where there is a log: where it writes.
    pub(crate) slot: Option<u16>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) closed: watch::Receiver<bool>,
}

/// Each ends with an error once the connection is of no more use.
type InFlight = FuturesUnordered<BoxFuture<'static, Result<(), String>>>;

/// Returns once the backend closes, or is dropped.
pub(crate) async fn closing(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

/// Why a connection's time ended.
enum End {
    Lost(String),
    Closed,
}

impl Writer {
    /// Lives until the backend closes.
    pub(crate) async fn run(mut self, mut link: Link) {
        let mut backoff = Backoff::default();
        loop {
            let up = Instant::now();
            let mut in_flight = InFlight::new();
            match self.serve(&mut link, &mut in_flight).await {
                End::Closed => {
                    let answers = in_flight.for_each(|_| async {});
                    // Whoever is not answered by then learns `Unknown` from the dropped job.
                    let _ = timeout(FAREWELL, answers).await;
                    return;
                }
                End::Lost(reason) => {
                    link.abort();
                    backoff.lost(up);
                    tracing::warn!(backend = NAME, "publisher: {reason}");
                    // The ended connection answers each of these with an error.
                    in_flight.for_each(|_| async {}).await;
                    let Some(again) = self.reconnect(&mut backoff, &reason).await else {
                        return;
                    };
                    link = again;
                }
            }
        }
    }

    async fn serve(&mut self, link: &mut Link, in_flight: &mut InFlight) -> End {
        let (connection, meter) = (link.connection.clone(), Arc::clone(&link.meter));
        let lost = link.lost(&self.config);
        tokio::pin!(lost);
        loop {
            tokio::select! {
                biased;
                reason = &mut lost => return End::Lost(reason),
                () = closing(&mut self.closed) => return End::Closed,
                Some(answered) = in_flight.next(), if !in_flight.is_empty() => {
                    if let Err(reason) = answered {
                        return End::Lost(reason);
                    }
                }
                job = self.jobs.recv(), if in_flight.len() < WINDOW => {
                    let Some(job) = job else { return End::Closed };
                    let jobs = gather(&mut self.jobs, job);
                    // Alone on its way, a pipeline of which the socket took no byte was surely not sent.
                    let alone = in_flight.is_empty().then(|| meter.written());
                    let config = Arc::clone(&self.config);
                    let sending = send(connection.clone(), Arc::clone(&meter), jobs, alone, config);
                    // The first poll puts the pipeline into the connection's queue, which has room and, without
                    // the runtime's constraint, does not defer: this is what keeps the order.
                    let mut answer: BoxFuture<'static, _> = Box::pin(unconstrained(sending));
                    match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
                        Poll::Pending => in_flight.push(answer),
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(reason)) => return End::Lost(reason),
                    }
                }
            }
        }
    }

    /// Connects until it succeeds; `None` once the backend closes. What comes meanwhile waits for the try in
    /// progress and shares its fate, so that a publish right after `Up` does not meet a publisher that is a moment
    /// behind the subscriber.
    async fn reconnect(&mut self, backoff: &mut Backoff, reason: &str) -> Option<Link> {
        loop {
            let dialling = async {
                backoff.wait().await;
                dial(&self.config, self.slot, None).await
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

/// The jobs that go together with this one: as many as wait, up to a full pipeline.
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

fn answer_all(job: Job, error: impl Fn() -> Error) {
    let results = job.items.iter().map(|_| Err(error())).collect();
    // Who no longer waits needs no answer.
    let _ = job.done.send(results);
}

/// Sends one pipeline and answers its jobs; an error: the connection is of no more use.
async fn send(
    mut connection: MultiplexedConnection,
    meter: Arc<Meter>,
    mut jobs: Vec<Job>,
    alone: Option<u64>,
    config: Arc<Config>,
) -> Result<(), String> {
    if jobs.is_empty() {
        return Ok(());
    }
    let (pipeline, lanes) = pipeline(&mut jobs, config.log.as_ref().map(|log| &log.keys));
    let count = pipeline.len();
    let sending = connection.send_packed_commands(&pipeline, 0, count);
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
    let wrong = answers.iter().find_map(elsewhere);
    let mut answers = answers;
    let epochs = match lanes.is_empty() {
        true => HashMap::new(),
        false => epochs(lanes, answers.pop()),
    };
    let mut answers = answers.into_iter();
    let mut result = |item: &Item| {
        let answer = answers.next().ok_or_else(unknown)?;
        receipt(answer, item.lane, &epochs)
    };
    for job in jobs {
        let results = job.items.iter().map(&mut result).collect();
        // Who no longer waits needs no answer.
        let _ = job.done.send(results);
    }
    wrong.map_or(Ok(()), Err)
}

/// What a node answers that others have taken the place of.
fn elsewhere(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else {
        return None;
    };
    let gone = matches!(error.code(), "MOVED" | "READONLY");
    gone.then(|| format!("this node takes no messages any more: {}", error.code()))
}

/// The commands, and the streams that they write to. Behind them the streams' epochs are asked for: an epoch never
/// comes back, so what is read there was true of all that was written before.
fn pipeline(jobs: &mut [Job], log: Option<&Keys>) -> (Pipeline, BTreeSet<u32>) {
    let count: usize = jobs.iter().map(|job| job.items.len()).sum();
    let mut pipeline = Pipeline::with_capacity(count + 1);
    let mut lanes = BTreeSet::new();
    for item in jobs.iter_mut().flat_map(|job| &mut job.items) {
        pipeline.add_command(mem::take(&mut item.command));
        lanes.extend(item.lane);
    }
    match log {
        Some(log) if !lanes.is_empty() => {
            let mut epochs = Cmd::new();
            epochs.arg("MGET");
            for lane in &lanes {
                epochs.arg(&log.of(*lane).token);
            }
            pipeline.add_command(epochs);
        }
        _ => lanes.clear(),
    }
    (pipeline, lanes)
}

fn epochs(lanes: BTreeSet<u32>, answer: Option<Value>) -> HashMap<u32, u64> {
    let Some(Value::Array(tokens)) = answer else {
        return HashMap::new();
    };
    let pairs = lanes.into_iter().zip(tokens);
    pairs
        .filter_map(|(lane, token)| Some((lane, log::epoch(&log::text(&token)?))))
        .collect()
}

/// Redis answers a PUBLISH with the number of receivers on that node, which says nothing of other nodes; an XADD
/// with the entry's id, which is a position where the stream's epoch is known.
fn receipt(answer: Value, lane: Option<u32>, epochs: &HashMap<u32, u64>) -> Result<Receipt> {
    let stored = |answer: &Value| {
        let lane = lane?;
        Some(Position {
            epoch: *epochs.get(&lane)?,
            lane,
            offset: log::id(answer)?,
        })
    };
    let error: RedisError = match answer {
        Value::ServerError(error) => error.into(),
        answer => return Ok(stored(&answer).map_or(Receipt::Accepted, Receipt::Stored)),
    };
    Err(match error.code() {
        Some("NOPERM") => Error::new(
            ErrorKind::Rejected,
            NAME,
            "Redis forbids this user to publish to the channel",
        ),
        Some("OOM") => {
            failure::unavailable("Redis has no memory left; give it more, or keep less of the log")
        }
        _ => failure::unavailable("Redis refused to publish"),
    }
    .with_source(error))
}
