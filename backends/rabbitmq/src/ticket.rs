//! What becomes of the messages of one `publish` call, known to the caller and to the writing task alike.

use std::sync::{Arc, Mutex, MutexGuard};

use hubplane_backplane::{Error, ErrorKind, Receipt, Result};
use tokio::sync::Notify;

use crate::capabilities::NAME;

#[derive(Debug)]
enum Slot {
    /// Not handed over.
    Waiting,
    /// Handed over, no answer yet.
    Sent,
    Settled(Result<Receipt>),
}

#[derive(Debug)]
struct Slots {
    /// Empty once the caller has its answers: then nothing more may be handed over.
    slots: Vec<Slot>,
    open: usize,
}

/// One call's answers.
#[derive(Debug)]
pub(crate) struct Ticket {
    slots: Mutex<Slots>,
    settled: Notify,
}

impl Ticket {
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

    /// The message is about to be handed over; `None` if the caller no longer waits for it.
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

    /// The answer for one message; the first one counts.
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

    /// The same error for every message that was not handed over.
    pub(crate) fn refuse(&self, kind: ErrorKind, why: &str) {
        let count = self.lock().slots.len();
        for index in 0..count {
            let waiting = matches!(self.lock().slots.get(index), Some(Slot::Waiting));
            if waiting {
                self.settle(index, Err(Error::new(kind, NAME, why)));
            }
        }
    }

    /// Returns once every message has its answer.
    pub(crate) async fn wait(&self) {
        if self.lock().open > 0 {
            self.settled.notified().await;
        }
    }

    /// Ends the call: what has no answer by now gets none.
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

fn unconfirmed() -> Error {
    Error::new(
        ErrorKind::Unknown,
        NAME,
        "RabbitMQ has not confirmed the message",
    )
}

/// A message that was handed over; dropped without an answer it counts as unconfirmed.
#[derive(Debug)]
pub(crate) struct Sent {
    ticket: Arc<Ticket>,
    index: usize,
}

impl Sent {
    /// The connection has ended instead of an answer.
    pub(crate) fn unconfirmed(self, why: &lapin::Error) {
        self.settle(Err(unconfirmed().with_source(why.clone())));
    }

    pub(crate) fn settle(self, result: Result<Receipt>) {
        self.ticket.settle(self.index, result);
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.ticket.settle(self.index, Err(unconfirmed()));
    }
}
