//! A hub's own server over TLS: real sockets, and clients by rustls.

mod authority;
mod client;
mod handshakes;
