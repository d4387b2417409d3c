//! hubplane: a WebSocket hub on the broker you already run.
//!
//! A browser watches a backend operation; the instance that executes it is rarely the one that holds the
//! socket. Every instance publishes its news to a broker, every instance receives them, and whichever holds a
//! subscribed socket sends them on.
//!
//! To run the hub inside your own program, start with [`HubBuilder`]. The features `redis`, `kafka` and `rabbitmq` choose the
//! brokers; `memory:` is always there. Leave out the default feature `cli`: it is the program.
//! The feature `tls` lets the hub's own server speak TLS ([`EmbeddedHub::serve_tls`]).
//!
//! ```toml
//! hubplane = { version = "0.1", default-features = false, features = ["redis"] }
//! ```
//!
//! A broker that is not among the features is a crate of yours that implements [`backplane::Backplane`]; see
//! `examples/custom_backend`.

pub mod backends;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod embed;
#[cfg(feature = "sabotage")]
mod sabotage;

pub use hubplane_backplane as backplane;
pub use hubplane_backplane::{Error, ErrorKind, Outgoing, Result};
pub use hubplane_hub::{ClientPosition, Health, Limits};
pub use hubplane_identity::{Access, AccessConfig, Actions, Keys};
pub use hubplane_server::{Routes, Server, Tls, TlsError};

pub use self::embed::{EmbeddedHub, HubBuilder};
