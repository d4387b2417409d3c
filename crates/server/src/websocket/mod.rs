//! The WebSocket protocol (RFC 6455) over a raw socket: frames out, frames in, and the loop between a client's
//! socket and its session. No extensions; nothing is compressed.

mod budget;
mod decoder;
mod encode;
mod header;
pub mod inside;
mod session;

pub(super) use self::{
    encode::NATIVE,
    session::{Negotiated, open, serve},
};

#[cfg(test)]
mod toy;
