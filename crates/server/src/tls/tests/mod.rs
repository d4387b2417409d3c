//! A hub's own server over TLS: real sockets, and clients by rustls.

mod authority;
mod client;
mod fan_out;
mod files;
mod handshakes;
mod hostile;
mod in_memory;
mod reload;
mod waking;
