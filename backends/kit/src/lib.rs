//! What backends share. It names no broker, and a backend uses of it what it needs.
//!
//! - [`Backoff`]: the waits between tries to connect.
//! - [`race`]: several candidates, of which the first that answers will do.
//! - [`tls`]: a client's TLS configuration from the files that an address names.
//! - [`LogLimiter`]: log lines that outsiders could cause without end.
//! - [`log_errors`]: what is said of positions in a log, and errors in another backend's name.
//! - [`limits`]: times and sizes that follow from the contract.
//! - [`ReconnectLog`]: tries to come back that fail: what the log and the hub are told of them.

mod backoff;
pub mod limits;
pub mod log_errors;
mod log_limiter;
pub mod race;
mod reconnect_log;
pub mod tls;

pub use self::{backoff::Backoff, log_limiter::LogLimiter, reconnect_log::ReconnectLog};
