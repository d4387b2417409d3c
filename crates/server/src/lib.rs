//! HTTP and WebSockets in front of a hub.

mod api;
mod context;
mod guard;
mod handoff;
mod history;
mod listener;
mod metrics;
mod presence;
mod problem;
mod routes;
mod stream;
mod threads;
mod upgrade;
mod websocket;

#[doc(hidden)]
pub use self::websocket::inside;
pub use self::{
    handoff::Shards,
    listener::Server,
    problem::Problem,
    routes::{Routes, embedded},
};
