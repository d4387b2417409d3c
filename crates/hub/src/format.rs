//! What a client format must bring, so that the hub can speak it without knowing it. A format is
//! pure and synchronous: bytes in, commands out; the hub's words in, bytes out.

use std::{fmt, str::FromStr};

use hubplane_backplane::Tags;

use super::{
    command::{Command, Ending, Push, Ref, Reply},
    key::Key,
    presence::Roster,
};

/// One client format: how a client's messages become commands, and how the hub's words become messages. One static value
/// a format, without state; what a session needs of its own is in its [`Decoder`].
///
/// A format writes payloads. How these stand on the wire, as WebSocket messages or otherwise, is
/// decided by a [`Framing`](super::frame::Framing).
pub trait Format: fmt::Debug + Send + Sync {
    /// The WebSocket subprotocol that names it (RFC 6455, 1.9).
    fn subprotocol(&self) -> &'static str;

    /// Returns which of the rarer features the format uses. What it does not use costs nothing.
    fn features(&self) -> Features {
        Features::default()
    }

    /// Returns what reads one session's messages. A decoder without state costs nothing: a box of
    /// nothing is not allocated.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Writes what a new session is told first; called where [`Features::greets`] is set. `session` is the name by which
    /// the session's own publications can be kept from it.
    fn greeting(&self, session: &SessionName, out: &mut Vec<u8>) {
        _ = (session, out);
    }

    /// Writes something for one client alone.
    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>);

    /// Writes something that may go to many clients: called once an instance for each message. Where
    /// [`Features::heads`] is set, this is the part behind each subscription's head.
    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>);

    /// Writes the short part in front of a push for one subscription; called for each of them, and where
    /// [`Features::heads`] is set only.
    fn head(&self, tag: Option<&str>, out: &mut Vec<u8>) {
        _ = (tag, out);
    }

    /// Writes the second part of the answer to who is on a channel, behind what [`Format::reply`] wrote for the one who
    /// asked: called once for all who ask at the same time.
    fn members(&self, channel: &str, roster: &Roster, out: &mut Vec<u8>);

    /// Writes what asks a client whether it is there; called where [`Features::keep_alive`] is set. All others are asked
    /// in the transport's way.
    fn keep_alive(&self, out: &mut Vec<u8>) {
        _ = out;
    }

    /// Says how a session ends: writes a last message, if the format has one, and tells the transport's code and reason.
    fn ending(&self, ending: Ending, out: &mut Vec<u8>) -> Close;
}

/// What a format may use that not every format has. The hub asks for it by these flags only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// Its messages are binary, not text.
    pub binary: bool,
    /// It greets new sessions.
    pub greets: bool,
    /// A push has a head for each subscription, in front of what all share.
    pub heads: bool,
    /// It has its own way to ask whether a client is there.
    pub keep_alive: bool,
    /// The answer to a subscribe carries what the client missed.
    pub missed_inside: bool,
    /// The answer to a subscribe carries who is on the channel, if the client takes part in its presence.
    pub members_inside: bool,
}

/// Reads what one session's client sends.
pub trait Decoder: fmt::Debug {
    /// Reads a message, and hands on what it asks, in order. Returns nothing: what can't be read is handed on as
    /// [`Input::Refused`] or [`Input::End`].
    fn decode(&mut self, incoming: Incoming<'_>, on: &mut dyn FnMut(Input));
}

/// A whole message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// What a client's message asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A command to be carried out.
    Command(Command),
    /// Something that can't be carried out; it is answered with an error, and the session goes on.
    Refused {
        /// What to answer with, if it could be read.
        reference: Option<Ref>,
        /// What is wrong, for people.
        message: String,
    },
    /// A sign of life, and nothing else.
    Alive,
    /// The session is to end, after what was queued for it.
    End(Close),
}

/// The code and reason that a connection is closed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code, as the transport has it.
    pub code: u16,
    /// For people; cut off where the transport has no room for it.
    pub reason: std::borrow::Cow<'static, str>,
}

impl Close {
    /// A code with its reason.
    pub fn new(code: u16, reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { code, reason }
    }
}

/// The name of a session among those of all instances. A message that carries it is not given to that session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionName {
    /// The instance's process.
    pub(crate) origin: u128,
    pub(crate) shard: u32,
    pub(crate) key: Key,
}

impl SessionName {
    /// The message header that it travels in.
    pub const HEADER: &'static str = "hubplane-session";

    /// Returns the session that a message must not be given to, from the message's headers. `None`
    /// if there is none, or if another program wrote something else there.
    pub(crate) fn of(tags: &Tags) -> Option<Self> {
        let (_, name) = tags.iter().find(|(name, _)| &**name == Self::HEADER)?;
        name.parse().ok()
    }

    /// Returns the header, name and value, that keeps a message from this session.
    pub fn tag(&self) -> (std::sync::Arc<str>, std::sync::Arc<str>) {
        (Self::HEADER.into(), self.to_string().into())
    }
}

/// Writes four hexadecimal numbers, `origin.shard.index.serial`.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, shard, key } = self;
        write!(f, "{origin:x}.{shard:x}.{:x}.{:x}", key.index, key.serial)
    }
}

impl FromStr for SessionName {
    type Err = NoSessionName;

    fn from_str(text: &str) -> Result<Self, NoSessionName> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NoSessionName);
        let origin = u128::from_str_radix(next()?, 16).or(Err(NoSessionName))?;
        let mut number = || u32::from_str_radix(next()?, 16).or(Err(NoSessionName));
        let (shard, index, serial) = (number()?, number()?, number()?);
        let key = Key { index, serial };
        match parts.next() {
            None => Ok(Self { origin, shard, key }),
            Some(_) => Err(NoSessionName),
        }
    }
}

/// The error for a text that is not the name of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSessionName;

impl fmt::Display for NoSessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not the name of a session")
    }
}

impl std::error::Error for NoSessionName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_name_is_read_back() {
        let name = SessionName {
            origin: u128::MAX,
            shard: 63,
            key: Key {
                index: 1,
                serial: u32::MAX,
            },
        };
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(SessionName::of(&vec![name.tag()]), Some(name));
        for wrong in ["", "1.2.3", "1.2.3.4.5", "x.2.3.4", "1.-2.3.4"] {
            assert_eq!(wrong.parse::<SessionName>(), Err(NoSessionName));
        }
    }
}
