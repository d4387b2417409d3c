//! TLS in the hub's own server, behind the cargo feature `tls`. This file is the only one of the
//! crate that asks for it: without the feature, `disabled.rs` stands in, and everything else is the
//! same.
//!
//! - `certificate.rs`: two PEM files, made into what rustls needs.
//! - `handle.rs`: [`Tls`], the certificate that is served now, and its renewal.
//! - `handshake.rs`: a new connection's handshake, bounded in time.
//! - `records.rs`, `room.rs`: records in memory, without a socket.
//! - `stream.rs`: a connection, for hyper and for sessions.

use std::{error::Error, fmt};

#[cfg(feature = "tls")]
mod certificate;
#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod handle;
#[cfg(feature = "tls")]
mod handshake;
#[cfg(feature = "tls")]
mod records;
#[cfg(feature = "tls")]
mod room;
#[cfg(feature = "tls")]
mod stream;
#[cfg(feature = "tls")]
#[cfg(test)]
mod tests;

#[cfg(not(feature = "tls"))]
pub(crate) use self::disabled::Secured;
#[cfg(not(feature = "tls"))]
pub use self::disabled::Tls;
#[cfg(feature = "tls")]
pub use self::handle::Tls;
#[cfg(feature = "tls")]
pub(crate) use self::stream::Secured;

/// Why a certificate can't be served: a sentence for people that names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl TlsError {
    const fn new(sentence: String) -> Self {
        Self(sentence)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for TlsError {}
