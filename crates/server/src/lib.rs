//! HTTP and WebSockets in front of a hub.

mod api;
mod guard;
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
    listener::Server,
    problem::Problem,
    routes::{Routes, embedded},
    threads::Shards,
};
