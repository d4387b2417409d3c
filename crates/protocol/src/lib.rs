//! Client formats: how the hub's words look on a client's wire. Pure and synchronous; no sockets here.

pub mod json;

use std::fmt;

use hubplane_hub::command::{Command, Push, Ref, Reply};

/// One client format.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// The WebSocket subprotocol that names it (RFC 6455, 1.9).
    fn subprotocol(&self) -> &'static str;
    /// Which of an instance's encodings it is, see [`hubplane_hub::frame::ENCODINGS`].
    fn slot(&self) -> usize;
    /// Reads what a client sent.
    fn decode(&self, text: &str) -> Result<Command, Refused>;
    /// Writes an answer.
    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>);
    /// Writes what the hub sends by itself.
    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>);
}

/// What a client sent can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// To answer with, where it could be read.
    pub reference: Option<Ref>,
    /// What is wrong, for people.
    pub message: String,
    /// The client doesn't speak the protocol: end the session.
    pub fatal: bool,
}
