//! hubplane: a WebSocket hub on the broker you already run.
//!
//! A browser watches a backend operation; the instance that executes it is rarely the one that holds the
//! socket. Every instance publishes its news to a broker, every instance receives them, and whichever holds a
//! subscribed socket sends them on. See `docs/` and `examples/` for how to run it and how to embed it.
//!
//! This crate joins the parts: the hub, its server, the client formats and the backends that its features name. The
//! program is behind the feature `cli`, which is on by default; whoever embeds the hub leaves it out.

pub mod backends;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use hubplane_backplane as backplane;
pub use hubplane_hub as hub;
pub use hubplane_identity as auth;
pub use hubplane_protocol as protocol;
pub use hubplane_server as server;
