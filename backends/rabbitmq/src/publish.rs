//! The callers' side of publishing: prepares a batch, hands it to the writing task and waits for
//! the answers, for less than 5 s.
//!
//! Every message is answered exactly once, whatever becomes of the task: [`crate::ticket`] keeps
//! count.

use std::sync::Arc;

use hubplane_backplane::{ErrorKind, Outgoing, Receipt, Result};
use hubplane_kit::limits;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    message::{Prepared, prepare},
    shared::Shared,
    ticket::Ticket,
};

/// Calls that wait for the writing task. A caller that finds no room waits, within its time.
const CALLS: usize = 64;

/// One call's messages, on their way to the writing task. If it is dropped, every message that was
/// not written is refused, with the reason.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) ticket: Arc<Ticket>,
    /// Each message with its place in the call.
    pub(crate) messages: std::vec::IntoIter<(usize, Prepared)>,
    shared: Arc<Shared>,
}

impl Drop for Call {
    fn drop(&mut self) {
        match self.shared.is_stopped() {
            true => self
                .ticket
                .refuse(ErrorKind::Closed, "the backend is closed"),
            false => {
                let why = self.shared.refusal();
                let message = format!("there is no connection to RabbitMQ: {why}");
                self.ticket.refuse(ErrorKind::Unavailable, &message);
            }
        }
    }
}

/// What callers have of the writing task.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    calls: mpsc::Sender<Call>,
}

impl Publisher {
    /// Returns a publisher, and the queue that the writing task takes calls from.
    pub(crate) fn new(shared: &Arc<Shared>) -> (Self, mpsc::Receiver<Call>) {
        let (calls, taken) = mpsc::channel(CALLS);
        let shared = Arc::clone(shared);
        (Self { shared, calls }, taken)
    }

    /// Publishes a batch and returns one result for each message, in order; see
    /// `Backplane::publish`.
    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let deadline = Instant::now() + limits::CALL;
        let ticket = Ticket::new(batch.len());
        let mut messages = Vec::with_capacity(batch.len());
        for (index, outgoing) in batch.into_iter().enumerate() {
            match prepare(outgoing) {
                Ok(message) => messages.push((index, message)),
                Err(error) => ticket.settle(index, Err(error)),
            }
        }
        if messages.is_empty() {
            return ticket.end();
        }
        let call = Call {
            ticket: Arc::clone(&ticket),
            messages: messages.into_iter(),
            shared: Arc::clone(&self.shared),
        };
        // Without a connection the answer comes at once: the hub knows how long to wait before it
        // tries again.
        if *self.shared.publishing.borrow() && !self.shared.is_stopped() {
            // A call that can't be passed on is dropped, and says so itself.
            let _ = timeout_at(deadline, self.calls.send(call)).await;
        } else {
            drop(call);
        }
        let _ = timeout_at(deadline, ticket.wait()).await;
        ticket.end()
    }
}
