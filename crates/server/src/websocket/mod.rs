//! The WebSocket protocol (RFC 6455) over a raw socket. No extensions: nothing is compressed.
//!
//! - `header.rs`: one frame's header, read and written.
//! - `decoder.rs`: a client's frames, put together to messages and checked.
//! - `encode.rs`: the server's frames.
//! - `budget.rs`: how fast one client may send.
//! - `session.rs`: the task between a client's socket and its session in the shard.
//!
//! The framing is our own, on the raw socket, and not warp's: that has no subprotocols and no
//! choice of close codes, and keeps 128 KiB of buffers for each session (`docs/decisions.md`).

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
