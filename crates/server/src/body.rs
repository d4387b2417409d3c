//! A session whose messages are the body of an HTTP response, such as an event stream. Its client
//! only listens: it can send nothing, and it ends the session by closing its connection.
//!
//! The counterpart with a WebSocket is `websocket/session.rs`. This file must not know the client
//! format: the shard writes frames that are finished already.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hubplane_hub::{Key, Shard};

use super::{
    stream::Stream,
    websocket::{self, Negotiated},
};

/// How many times one call of the task looks at its session. Then the task yields, so that the
/// other sessions of its thread get their turn even if this client's socket can always take more.
const LOOKS_AT_ONCE: usize = 8;

/// An open session. Its `Drop` closes the session in the shard, whether the task returns, panics or
/// is dropped.
struct Open {
    shard: Rc<Shard>,
    key: Key,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shard.remove(self.key);
    }
}

/// Opens a session on `shard` that writes to `stream`, and returns the future that serves it. The
/// future ends when the client goes away or when the hub has ended the session and its last message
/// is written.
pub(super) fn serve<S: Stream + 'static>(
    shard: Rc<Shard>,
    stream: S,
    negotiated: Negotiated,
) -> impl Future<Output = ()> {
    let stream = Rc::new(stream);
    let key = websocket::open(&shard, &stream, negotiated);
    let open = Open { shard, key };
    // Opening may have queued a greeting or the answers to subscriptions; nothing else writes them
    // now.
    open.shard.flush_dirty();
    poll_fn(move |cx| open.poll(&*stream, cx))
}

impl Open {
    /// Writes what waits, as far as the stream takes it. Returns `Ready` once the session is over.
    fn poll(&self, stream: &impl Stream, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..LOOKS_AT_ONCE {
            // The shard has removed the session, for example because the client was too slow.
            let Some(status) = self.shard.status(self.key, cx.waker()) else {
                return Poll::Ready(());
            };
            // Either frames wait in the outbox, or bytes that the stream has taken are not sent
            // yet.
            let waits = status.blocked || stream.has_unsent();
            if waits && stream.poll_write_ready(cx).is_ready() {
                self.shard.flush(self.key);
                continue;
            }
            if status.ending && !waits {
                // The last message is written, and no handshake follows.
                return Poll::Ready(());
            }
            // The body's other end never writes, so what can be read is that it is gone.
            ready!(stream.poll_read_ready(cx)).ok();
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
