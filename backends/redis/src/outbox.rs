//! The callers' side of the publisher: cuts batches into jobs, hands these to the writer and waits
//! for the answers, for at most 5 s.
//!
//! Both backends use it. It must answer every publication exactly once and in the order of the
//! batch, whatever becomes of the writer.

use std::{mem, sync::Arc, time::Duration};

use hubplane_backplane::{Error, ErrorKind, Outgoing, Receipt, Result};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use crate::{
    backend::NAME,
    failure,
    pipeline::{Item, unknown},
    publish::{Job, PIPELINE, PIPELINE_BYTES, Ticket},
};

/// How long a call may take, as the contract says. The answers to a call that is late are made
/// here, without a broker, so the whole time can be used.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Jobs that wait for the writer, up to a pipeline each. The writer takes what waits together, so a
/// full queue is a broker that is seconds behind.
const JOBS: usize = 256;

/// Hands publications to the writer. Cheap to share: calls from several tasks are served in the
/// order in which they come.
pub(crate) struct Outbox {
    jobs: mpsc::Sender<Job>,
    closed: watch::Receiver<bool>,
}

/// A job that was handed over, or could not be: its ticket tells which.
struct Waiting {
    count: usize,
    ticket: Arc<Ticket>,
    answer: oneshot::Receiver<Vec<Result<Receipt>>>,
}

/// Returns the error for a publication that Redis could never take; sending it again is no use.
pub(crate) fn rejected(message: String) -> Error {
    Error::new(ErrorKind::Rejected, NAME, message)
}

impl Outbox {
    /// Returns an outbox, and the queue that the writer must read.
    pub(crate) fn new(closed: watch::Receiver<bool>) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(JOBS);
        (Self { jobs, closed }, queue)
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Publishes a batch and returns one result for each publication, in order; see
    /// `Backplane::publish`. `item` makes the command of a publication, or says why there can be
    /// none; that one is answered at once and holds up no other.
    pub(crate) async fn publish(
        &self,
        batch: &[Outgoing],
        item: impl Fn(&Outgoing) -> Result<Item> + Send + Sync,
    ) -> Vec<Result<Receipt>> {
        if self.is_closed() {
            return batch.iter().map(|_| Err(failure::closed())).collect();
        }
        // One deadline for the whole call: its jobs are on their way side by side.
        let deadline = Instant::now() + CALL_LIMIT;
        let mut refused = Vec::new();
        let mut waiting = Vec::new();
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (index, outgoing) in batch.iter().enumerate() {
            match item(outgoing) {
                Ok(item) => {
                    bytes += item.size;
                    items.push(item);
                }
                Err(error) => refused.push((index, error)),
            }
            if items.len() == PIPELINE || bytes >= PIPELINE_BYTES {
                waiting.push(self.hand_over(mem::take(&mut items), deadline).await);
                bytes = 0;
            }
        }
        if !items.is_empty() {
            waiting.push(self.hand_over(items, deadline).await);
        }
        let mut answered = Vec::with_capacity(batch.len());
        for job in waiting {
            answered.extend(self.answer(job, deadline).await);
        }
        let mut answered = answered.into_iter();
        let mut refused = refused.into_iter().peekable();
        // The answers are those of the accepted publications; the refused ones are put back between
        // them.
        let mut result = |index| match refused.next_if(|(at, _)| *at == index) {
            Some((_, error)) => Err(error),
            None => answered.next().unwrap_or_else(|| Err(unknown())),
        };
        (0..batch.len()).map(&mut result).collect()
    }

    /// Puts a job into the writer's queue, and waits for room until the deadline. [`Self::answer`]
    /// waits for what becomes of it.
    async fn hand_over(&self, items: Vec<Item>, deadline: Instant) -> Waiting {
        let ticket = Arc::new(Ticket::default());
        let (done, answer) = oneshot::channel();
        let count = items.len();
        let job = Job {
            items,
            ticket: Arc::clone(&ticket),
            done,
        };
        match timeout_at(deadline, self.jobs.send(job)).await {
            Ok(Ok(())) => {}
            // The dropped job leaves the answer without a sender, and the ticket says why.
            Ok(Err(_)) | Err(_) => {
                ticket.give_up();
            }
        }
        Waiting {
            count,
            ticket,
            answer,
        }
    }

    /// Returns the answers of a job, one for each publication. What is not answered by the deadline
    /// is `Unavailable` if it was surely not sent, and `Unknown` otherwise.
    async fn answer(&self, waiting: Waiting, deadline: Instant) -> Vec<Result<Receipt>> {
        if let Ok(Ok(results)) = timeout_at(deadline, waiting.answer).await {
            return results;
        }
        let unsent = waiting.ticket.give_up();
        let error = || match unsent {
            true if self.is_closed() => failure::closed(),
            true => failure::unavailable("too many publications wait for Redis"),
            false => unknown(),
        };
        (0..waiting.count).map(|_| Err(error())).collect()
    }
}
