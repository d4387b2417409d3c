//! hubplane: a WebSocket hub on the broker you already run.
//!
//! A browser watches a backend operation; the instance that executes it is rarely the one that holds the
//! socket. Every instance publishes its news to a broker, every instance receives them, and whichever holds a
//! subscribed socket sends them on. See `docs/` and `examples/` for how to run it and how to embed it.

pub mod auth;
pub mod backends;
pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod hub;
pub mod metrics;
pub mod protocol;
pub mod server;
