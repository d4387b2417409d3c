//! The callers' side of the publisher: batches become jobs, and wait for their answers.

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

/// What every call of the contract may take.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Jobs that wait for the writer, up to a pipeline each.
const JOBS: usize = 256;

/// Hands publications to the writer.
pub(crate) struct Outbox {
    jobs: mpsc::Sender<Job>,
    closed: watch::Receiver<bool>,
}

/// A job that was handed over.
struct Waiting {
    count: usize,
    ticket: Arc<Ticket>,
    answer: oneshot::Receiver<Vec<Result<Receipt>>>,
}

pub(crate) fn rejected(message: String) -> Error {
    Error::new(ErrorKind::Rejected, NAME, message)
}

impl Outbox {
    /// With the queue for the writer.
    pub(crate) fn new(closed: watch::Receiver<bool>) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(JOBS);
        (Self { jobs, closed }, queue)
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// As the contract says; `item` makes the command of a publication, or says why there is none.
    pub(crate) async fn publish(
        &self,
        batch: &[Outgoing],
        item: impl Fn(&Outgoing) -> Result<Item> + Send + Sync,
    ) -> Vec<Result<Receipt>> {
        if self.is_closed() {
            return batch.iter().map(|_| Err(failure::closed())).collect();
        }
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
        let mut result = |index| match refused.next_if(|(at, _)| *at == index) {
            Some((_, error)) => Err(error),
            None => answered.next().unwrap_or_else(|| Err(unknown())),
        };
        (0..batch.len()).map(&mut result).collect()
    }

    /// Hands a job over; its answer is to be awaited by [`Self::answer`].
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

    async fn answer(&self, waiting: Waiting, deadline: Instant) -> Vec<Result<Receipt>> {
        if let Ok(Ok(results)) = timeout_at(deadline, waiting.answer).await {
            return results;
        }
        let unsent = waiting.ticket.give_up();
        let error = || match unsent {
            true if self.is_closed() => failure::closed(),
            true => failure::unavailable("too much waits to be published"),
            false => unknown(),
        };
        (0..waiting.count).map(|_| Err(error())).collect()
    }
}
