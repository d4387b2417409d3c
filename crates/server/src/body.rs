//! A session whose messages are the body of an HTTP response. Its client sends nothing: it stays, or goes away.

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

/// How often a task looks before it lets the others of its thread run.
const LOOKS_AT_ONCE: usize = 8;

/// However the task ends, the session ends with it.
struct Open {
    shard: Rc<Shard>,
    key: Key,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shard.remove(self.key);
    }
}

/// Opens a session, and serves it until either side ends it.
pub(super) fn serve<S: Stream + 'static>(
    shard: Rc<Shard>,
    stream: S,
    negotiated: Negotiated,
) -> impl Future<Output = ()> {
    let stream = Rc::new(stream);
    let key = websocket::open(&shard, &stream, negotiated);
    let open = Open { shard, key };
    open.shard.flush_dirty();
    poll_fn(move |cx| open.poll(&*stream, cx))
}

impl Open {
    /// Ready once the session is over.
    fn poll(&self, stream: &impl Stream, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..LOOKS_AT_ONCE {
            let Some(status) = self.shard.status(self.key, cx.waker()) else {
                return Poll::Ready(());
            };
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
