//! HTTP and WebSockets in front of a hub.
//!
//! This crate turns bytes on sockets into commands for the hub, and the hub's frames into bytes on
//! sockets. It brings the routes, the WebSocket protocol (RFC 6455), the threads of the shards, and
//! the metrics.
//!
//! What must hold: every route and every command asks a grant before it acts, everything that a
//! client can make this crate keep has a limit, and nothing here waits for a broker while it holds
//! up other clients.
//!
//! It must not know any broker, and no client format by name except the native one, which
//! `mounts.rs` puts at `/ws`.

mod addresses;
mod api;
mod body;
mod channel_rules;
mod context;
mod disconnect;
mod guard;
mod handoff;
mod handshakes;
mod history;
mod limiter;
mod listener;
mod metrics;
mod mounts;
mod presence;
mod problem;
mod proxies;
mod refusal;
mod routes;
mod status;
mod stream;
mod threads;
mod tls;
mod upgrade;
mod websocket;

// The benchmarks in `bench/` need the framing. It is hidden, because it is not part of the
// interface.
#[doc(hidden)]
pub use self::websocket::inside;
pub use self::{
    handoff::Shards,
    listener::Server,
    mounts::{Mount, Mounted, Mounts, Routes},
    problem::Problem,
    proxies::TrustedProxies,
    routes::embedded,
    tls::{Tls, TlsError},
};
