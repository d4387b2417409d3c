//! What callers have of the side that publishes.

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

/// Calls that wait for the writing task.
const CALLS: usize = 64;

/// One call's messages, on their way to the writing task. Dropped unwritten, its caller learns that.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) ticket: Arc<Ticket>,
    /// Each with its place in the call.
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
    /// The other end is what the writing task takes calls from.
    pub(crate) fn new(shared: &Arc<Shared>) -> (Self, mpsc::Receiver<Call>) {
        let (calls, taken) = mpsc::channel(CALLS);
        let shared = Arc::clone(shared);
        (Self { shared, calls }, taken)
    }

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
