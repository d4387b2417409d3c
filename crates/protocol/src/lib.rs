//! Client formats: how the hub's words look on a client's wire. A format is pure and synchronous:
//! bytes in, commands out; answers and pushes in, bytes out.
//!
//! What must hold: nothing that a client sends makes a format panic, and only a session's decoder
//! keeps anything between two of its messages. A format must not know sockets,
//! clocks, tasks or brokers, nor who else is there: what it needs is handed in. The hub's traits
//! are in `hubplane_hub::format`.
//!
//! # How to add a format
//!
//! A format is one static value that implements [`Format`], and a [`Decoder`] for each session. [`json`] is one; the test
//! `toy` of the crate `hubplane-server` is a small one that uses all there is.
//!
//! 1. **Read.** [`Format::decoder`] makes what reads one session's messages: text or bytes in, any number of [`Input`]s
//!    out, in order. Whatever a session has to remember is in the decoder. A decoder that remembers nothing is a type
//!    without fields and costs no memory. For what can't be read, hand on [`Input::Refused`], which is answered with an
//!    error, or [`Input::End`], which ends the session with a code of the format's own.
//! 2. **Write.** [`Format::reply`] and [`Format::push`] write payloads into a buffer. A push is written once for all who are
//!    given it, whatever their number. A client's `ref` is opaque text to the hub: put into it what is needed to write the
//!    answer.
//! 3. **Say what is special** in [`Format::features`]; what is not set costs nothing:
//!    - `greets`: a new session is told something first, such as its own name.
//!    - `heads`: subscriptions have names of the client's own ([`Tag`](hubplane_hub::command::Tag)), and a push begins with
//!      a short part for each, in front of what all share. A channel may then be subscribed to several times.
//!    - `keep_alive`: the format asks in its own messages whether a client is there, not in the transport's. The decoder
//!      reports the answer as [`Input::Alive`].
//!    - `missed_inside`, `members_inside`: the answer to a subscribe carries what was missed, or who is there.
//!    - `binary`: messages are bytes, not text.
//! 4. **Leave the publisher out**, if the format wants it: `not_to_me` in
//!    [`Command::Publish`](hubplane_hub::command::Command::Publish). The name of the session travels with the message, so it
//!    works across instances and on every broker.
//! 5. **Show who it is.** A client that shows this after it has connected does so with
//!    [`Command::Authenticate`](hubplane_hub::command::Command::Authenticate). The hub asks its authority, and checks each
//!    later command against the [`Grant`](hubplane_hub::Grant). The format takes no part in that.
//! 6. **End.** [`Format::ending`] has a code, and perhaps a last message, for each reason that the hub may have.
//! 7. **Put it on a transport**: a static [`Encoding`](hubplane_hub::frame::Encoding) of the format and a
//!    [`Framing`](hubplane_hub::frame::Framing), such as the server's WebSocket frames.
//! 8. **Give it a place**: a `Mount` of the server has a path, the formats of its WebSocket by their subprotocols, and
//!    perhaps HTTP routes, which may open sessions whose messages are the body of a response.

pub mod json;
mod object;

pub use self::object::Object;
pub use hubplane_hub::format::{
    Close, Decoder, Features, Format, Incoming, Input, NoSessionName, SessionName,
};
