//! Encoded messages: made once for each format in use, and shared by all who are given them. Here a
//! [`Format`], which writes payloads, meets a [`Framing`], which puts a transport's frames around
//! them.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use bytes::Bytes;
use hubplane_backplane::GapCause;

use super::{
    command::{Ending, Push, Reply},
    format::{Close, Format, SessionName},
    message::Message,
    presence::Roster,
};

/// One encoded message, ready for a socket. Cloning shares the bytes.
pub type Frame = Bytes;

/// Bytes of room for a usual message. Larger ones grow.
const USUAL: usize = 256;

/// A transport: how payloads stand on the wire.
pub trait Framing: fmt::Debug + Send + Sync {
    /// Returns how many bytes a frame needs in front of its payload.
    fn room(&self) -> usize;
    /// Makes a frame of a buffer whose payload stands behind that room. `tail` more bytes of the
    /// same message follow the frame.
    fn frame(&self, binary: bool, buffer: Vec<u8>, tail: usize) -> Frame;
    /// Returns the frame that asks the client whether it is there.
    fn ping(&self) -> Frame;
    /// Returns the frame that closes the connection.
    fn close(&self, close: &Close) -> Frame;
}

/// A format on a transport: one static value for each pair.
#[derive(Debug)]
pub struct Encoding {
    /// The format.
    pub format: &'static dyn Format,
    /// The transport's frames.
    pub framing: &'static dyn Framing,
}

impl Encoding {
    /// Encodes something for one client alone.
    pub fn reply(&self, reply: &Reply<'_>) -> Frame {
        self.frame(|out| self.format.reply(reply, out))
    }

    /// Encodes something that may go to many clients; without the heads, where the format has such.
    pub fn push(&self, push: &Push<'_>) -> Frame {
        if !self.format.features().heads {
            return self.frame(|out| self.format.push(push, out));
        }
        let mut tail = Vec::with_capacity(USUAL);
        self.format.push(push, &mut tail);
        tail.into()
    }

    /// Encodes who is on a channel, for all who ask at the same time. A reply goes in front of it
    /// for each.
    pub(super) fn members(&self, channel: &str, roster: &Roster) -> Frame {
        let mut tail = Vec::with_capacity(USUAL);
        self.format.members(channel, roster, &mut tail);
        tail.into()
    }

    /// Encodes a reply that goes in front of a tail.
    pub(super) fn reply_head(&self, reply: &Reply<'_>, tail: &Frame) -> Frame {
        self.buffer(tail.len(), |out| self.format.reply(reply, out))
    }

    /// Encodes what goes in front of a push for one subscription.
    pub(super) fn head(&self, tag: Option<&str>, tail: &Frame) -> Frame {
        self.buffer(tail.len(), |out| self.format.head(tag, out))
    }

    /// Encodes what a new session is told first, `None` if its format greets nobody.
    pub(super) fn greeting(&self, session: &SessionName) -> Option<Frame> {
        let greets = self.format.features().greets;
        greets.then(|| self.frame(|out| self.format.greeting(session, out)))
    }

    /// Returns what asks the client whether it is there, in the format's way if it has one.
    pub(super) fn ping(&self) -> Frame {
        match self.format.features().keep_alive {
            true => self.frame(|out| self.format.keep_alive(out)),
            false => self.framing.ping(),
        }
    }

    /// Encodes the last of a session: the format's last message, if it has one, and the transport's
    /// close.
    pub(super) fn ending(&self, ending: Ending) -> Frame {
        let room = self.framing.room();
        let mut buffer = vec![0; room];
        let close = self.format.ending(ending, &mut buffer);
        let close = self.framing.close(&close);
        if buffer.len() == room {
            return close;
        }
        let binary = self.format.features().binary;
        let last = self.framing.frame(binary, buffer, 0);
        [last, close].concat().into()
    }

    /// Makes a whole frame of what `write` writes.
    fn frame(&self, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.buffer(0, write)
    }

    /// Makes a frame of what `write` writes, in front of `tail` more bytes.
    fn buffer(&self, tail: usize, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let mut out = Vec::with_capacity(USUAL);
        out.resize(self.framing.room(), 0);
        write(&mut out);
        let binary = self.format.features().binary;
        self.framing.frame(binary, out, tail)
    }
}

/// A client's socket as its session sees it: non-blocking, used from the shard's thread only.
pub trait Socket: fmt::Debug {
    /// Writes what fits now. Returns `WouldBlock` if nothing does; never waits.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// As [`Socket::write`], from several buffers.
    fn write_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize>;
}

/// The frames of one thing in all encodings that were asked for so far. An encoding finds its own by its address, so
/// no two can collide, and no number of them is too many; the first, and mostly the only one, costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    first: OnceLock<(usize, Frame)>,
    more: OnceLock<Box<Self>>,
}

impl Frames {
    /// Returns the frame in an encoding, made now if it is not there yet.
    pub(crate) fn get(&self, encoding: &'static Encoding, make: impl FnOnce() -> Frame) -> &Frame {
        let address = std::ptr::from_ref(encoding).addr();
        let mut make = Some(make);
        let mut at = self;
        loop {
            let (whose, frame) = at.first.get_or_init(|| {
                let make = make.take();
                (address, make.map_or_else(Frame::new, |make| make()))
            });
            if *whose == address {
                return frame;
            }
            at = at.more.get_or_init(Box::default);
        }
    }
}

/// A message with its encodings, shared by all shards; each encoding is made by the first that needs it.
#[derive(Debug)]
pub struct Encoded {
    message: Message,
    frames: Frames,
}

impl Encoded {
    /// A message that is not encoded yet.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            frames: Frames::default(),
        }
    }

    /// Returns the message that was published.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the frame in one encoding. If the encoding panics on this message, `panicked` is
    /// called, and its clients get a gap in the message's place: the others of the batch must not
    /// be lost with it.
    pub fn frame(&self, encoding: &'static Encoding, panicked: impl FnOnce()) -> &Frame {
        self.frames.get(encoding, || {
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
