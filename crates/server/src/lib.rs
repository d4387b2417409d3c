//! HTTP and WebSockets in front of a hub.

mod api;
mod body;
mod context;
mod guard;
mod handoff;
mod history;
mod listener;
mod metrics;
mod mounts;
mod presence;
mod problem;
mod routes;
mod status;
mod stream;
mod threads;
mod upgrade;
mod websocket;

#[doc(hidden)]
pub use self::websocket::inside;
pub use self::{
    handoff::Shards,
    listener::Server,
    mounts::{Mount, Mounted, Mounts, Routes},
    problem::Problem,
    routes::embedded,
};
