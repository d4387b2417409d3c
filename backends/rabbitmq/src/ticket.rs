//! What becomes of the messages of one `publish` call, known to the caller and to the writing task
//! alike.
//!
//! The one thing that must hold: a message for which the caller has an error other than `Unknown`
//! is never sent afterwards. So both sides go through the lock here, for each message.

use std::sync::{Arc, Mutex, MutexGuard};

use hubplane_backplane::{Error, ErrorKind, Receipt, Result};
use tokio::sync::Notify;

use crate::capabilities::NAME;

/// What became of one message.
#[derive(Debug)]
enum Slot {
    /// Not handed over; it can still be refused.
    Waiting,
    /// Handed over to the client library, without an answer yet.
    Sent,
    Settled(Result<Receipt>),
}

#[derive(Debug)]
struct Slots {
    /// Empty once the caller has its answers: then nothing more may be handed over.
    slots: Vec<Slot>,
    /// How many messages are not settled.
    open: usize,
}

/// The answers of one call.
#[derive(Debug)]
pub(crate) struct Ticket {
    slots: Mutex<Slots>,
    settled: Notify,
}

impl Ticket {
    /// Returns a ticket for `count` messages, which all wait.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::new(Slots {
                slots: (0..count).map(|_| Slot::Waiting).collect(),
                open: count,
            }),
            settled: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    /// Says that a message is about to be handed over. Returns `None` if the caller no longer waits
    /// for it: it must not be sent then.
    pub(crate) fn send(self: &Arc<Self>, index: usize) -> Option<Sent> {
        let mut slots = self.lock();
        match slots.slots.get_mut(index) {
            Some(slot @ Slot::Waiting) => *slot = Slot::Sent,
            _ => return None,
        }
        drop(slots);
        Some(Sent {
            ticket: Arc::clone(self),
            index,
        })
    }

    /// Gives one message its answer. The first one counts.
    pub(crate) fn settle(&self, index: usize, result: Result<Receipt>) {
        let mut slots = self.lock();
        match slots.slots.get_mut(index) {
            None | Some(Slot::Settled(_)) => return,
            Some(slot) => *slot = Slot::Settled(result),
        }
        slots.open -= 1;
        if slots.open == 0 {
            self.settled.notify_one();
        }
    }

    /// Gives the same error to every message that was not handed over.
    pub(crate) fn refuse(&self, kind: ErrorKind, why: &str) {
        let count = self.lock().slots.len();
        for index in 0..count {
            let waiting = matches!(self.lock().slots.get(index), Some(Slot::Waiting));
            if waiting {
                self.settle(index, Err(Error::new(kind, NAME, why)));
            }
        }
    }

    /// Returns once every message has its answer. One caller only.
    pub(crate) async fn wait(&self) {
        if self.lock().open > 0 {
            self.settled.notified().await;
        }
    }

    /// Ends the call and returns its answers: what was handed over and has none is `Unknown`, what
    /// was not is `Unavailable`.
    pub(crate) fn end(&self) -> Vec<Result<Receipt>> {
        let mut slots = self.lock();
        let answers = std::mem::take(&mut slots.slots).into_iter();
        answers
            .map(|slot| match slot {
                Slot::Settled(result) => result,
                Slot::Sent => Err(unconfirmed()),
                Slot::Waiting => Err(Error::new(
                    ErrorKind::Unavailable,
                    NAME,
                    "RabbitMQ took no messages for 5 s",
                )),
            })
            .collect()
    }
}

/// Returns the answer for a message that the broker may or may not have.
fn unconfirmed() -> Error {
    Error::new(
        ErrorKind::Unknown,
        NAME,
        "RabbitMQ has not confirmed the message",
    )
}

/// A message that was handed over. If it is dropped without an answer, it counts as unconfirmed.
#[derive(Debug)]
pub(crate) struct Sent {
    ticket: Arc<Ticket>,
    index: usize,
}

impl Sent {
    /// Notes that the connection has ended before an answer came.
    pub(crate) fn unconfirmed(self, why: &lapin::Error) {
        self.settle(Err(unconfirmed().with_source(why.clone())));
    }

    /// Gives the message its answer.
    pub(crate) fn settle(self, result: Result<Receipt>) {
        self.ticket.settle(self.index, result);
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.ticket.settle(self.index, Err(unconfirmed()));
    }
}
