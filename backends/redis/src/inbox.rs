//! The bound between the client library and the hub: messages that have arrived on one connection
//! and are not yet in the queue of events.
//!
//! The library hands messages over from inside its reading, where nothing can wait. So the wait is
//! put in front of the library: while the inbox is full, the socket under it gives no bytes, the
//! kernel's buffers fill, and Redis feels the slow hub; its output buffer limit cuts the connection
//! if that lasts. Nothing is dropped here, and nothing is decoded: see [`crate::outlet`].

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

/// Bytes that may wait, each message counted with `OVERHEAD` for its place in memory. What one read
/// of the socket brings comes on top, at most 64 KiB or so.
const LIMIT: usize = 4 * 1024 * 1024;
const OVERHEAD: usize = 128;

/// A message as Redis delivered it; the channel's name has the prefix in front.
pub(crate) struct Raw {
    /// The prefix included.
    pub(crate) channel: Vec<u8>,
    pub(crate) data: Bytes,
}

impl Raw {
    /// Returns what this message counts against `LIMIT`.
    fn weight(&self) -> usize {
        OVERHEAD + self.channel.len() + self.data.len()
    }
}

/// Messages between one connection and the event queue. The library fills it, one task empties it.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Raw>,
    weight: usize,
    /// Whether somebody empties the inbox, so that reading may wait for that.
    drained: bool,
    /// Woken when the socket may be read again.
    reader: Option<Waker>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the library pushes. Only messages are kept: confirmations are the library's own
    /// matter.
    pub(crate) fn push(&self, info: PushInfo) {
        if info.kind != PushKind::Message {
            return;
        }
        let mut parts = info.data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(data))) =
            (parts.next(), parts.next())
        else {
            return;
        };
        let raw = Raw {
            channel,
            data: data.into(),
        };
        let mut state = self.state();
        // Before `drain`, a full inbox must not stop the reading: what is awaited there, the confirmations, comes
        // behind the messages. All of them lie before the gap that is then announced, so they may go.
        if !state.drained && state.weight >= LIMIT {
            return;
        }
        state.weight += raw.weight();
        state.messages.push_back(raw);
        drop(state);
        self.arrived.notify_one();
    }

    /// Says that the inbox is emptied from now on, so that a full one stops the reading.
    pub(crate) fn drain(&self) {
        self.state().drained = true;
    }

    /// Returns `Ready` if the socket may be read; otherwise wakes the task of `context` once it
    /// may.
    pub(crate) fn poll_open(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.is_open() {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Returns false while reading waits for the hub. Then silence on the socket proves nothing
    /// about the broker.
    pub(crate) fn is_open(&self) -> bool {
        self.state().is_open()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state().messages.is_empty()
    }

    /// Throws away what has arrived. For connections whose messages are only a sign that something
    /// has happened.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.weight = 0;
    }

    /// Waits until there is a message. One task at a time may wait.
    pub(crate) async fn filled(&self) {
        while self.is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Moves up to `count` messages, and about `bytes` of them, to the end of `to`, and lets the
    /// socket be read again.
    pub(crate) fn take(&self, count: usize, bytes: usize, to: &mut VecDeque<Raw>) {
        let mut state = self.state();
        let mut taken = 0;
        for _ in 0..count {
            if taken >= bytes {
                break;
            }
            let Some(raw) = state.messages.pop_front() else {
                break;
            };
            taken += raw.weight();
            to.push_back(raw);
        }
        state.weight -= taken;
        if state.is_open() {
            let reader = state.reader.take();
            // Woken without the lock, since the woken task takes it at once.
            drop(state);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
    }
}

impl State {
    const fn is_open(&self) -> bool {
        !self.drained || self.weight < LIMIT
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn message(size: usize) -> PushInfo {
        PushInfo {
            kind: PushKind::Message,
            data: vec![
                Value::BulkString(b"c".to_vec()),
                Value::BulkString(vec![0; size]),
            ],
        }
    }

    fn open(inbox: &Inbox) -> bool {
        inbox
            .poll_open(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a_full_inbox_shuts_the_gate_and_an_emptied_one_opens_it() {
        let inbox = Inbox::default();
        inbox.drain();
        for _ in 0..5 {
            assert!(open(&inbox));
            inbox.push(message(LIMIT / 5));
        }
        assert!(!open(&inbox));
        let mut taken = VecDeque::new();
        inbox.take(1, usize::MAX, &mut taken);
        assert!(open(&inbox) && taken.len() == 1);
        inbox.take(100, usize::MAX, &mut taken);
        assert!(inbox.is_empty() && taken.len() == 5 && inbox.state().weight == 0);
    }

    #[test]
    fn before_it_is_drained_a_full_inbox_drops_and_stays_open() {
        let inbox = Inbox::default();
        for _ in 0..100 {
            inbox.push(message(LIMIT / 5));
        }
        assert!(open(&inbox));
        assert_eq!(inbox.state().messages.len(), 5);
    }
}
