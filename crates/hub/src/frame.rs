//! Encoded messages, and how the hub gets them without knowing a client format.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use hubplane_backplane::GapCause;

use super::{
    command::{Ending, Push, Reply},
    message::Message,
};

/// One encoded message, ready for a socket; cloning shares the bytes.
pub type Frame = Bytes;

/// How many encodings an instance can have: each publication keeps a place for each.
pub const ENCODINGS: usize = 4;

/// Turns the hub's words into frames of one client format. One static value a format.
pub trait Encoding: fmt::Debug + Send + Sync {
    /// Which of the [`ENCODINGS`] places is this one's.
    fn slot(&self) -> usize;
    /// Something for the client alone.
    fn reply(&self, reply: &Reply<'_>) -> Frame;
    /// Something that may go to many clients: called once an instance for each publication.
    fn push(&self, push: &Push<'_>) -> Frame;
    /// Asks the client whether it is there.
    fn ping(&self) -> Frame;
    /// The last frame of a session.
    fn ending(&self, ending: Ending) -> Frame;
}

/// A client's socket as its session sees it: non-blocking, used from the shard's thread only.
pub trait Socket: fmt::Debug {
    /// Writes what fits now; `WouldBlock` where nothing does.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// As [`Socket::write`], from several buffers.
    fn write_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize>;
}

/// A message with its encodings, shared by all shards; each encoding is made by the first that needs it.
#[derive(Debug)]
pub struct Encoded {
    message: Message,
    frames: [std::sync::OnceLock<Frame>; ENCODINGS],
}

impl Encoded {
    /// Not encoded yet.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            frames: Default::default(),
        }
    }

    /// What was published.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The frame in one encoding. An encoding that panics on this message is told of, and its clients get a gap in the
    /// message's place: the others of its batch must not be lost with it.
    pub fn frame(&self, encoding: &dyn Encoding, panicked: impl FnOnce()) -> &Frame {
        self.frames[encoding.slot()].get_or_init(|| {
            let push = || encoding.push(&Push::Message(&self.message));
            catch_unwind(AssertUnwindSafe(push)).unwrap_or_else(|_| {
                panicked();
                let channel = &*self.message.channel;
                let cause = GapCause::Undecodable;
                encoding.push(&Push::Gap { channel, cause })
            })
        })
    }
}
