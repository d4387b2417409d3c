//! Your own backend decides: the hub asks it by HTTP whether a client may connect, subscribe or
//! publish.
//!
//! What must hold: without an answer that is understood in full, nothing is allowed; a backend that
//! is slow or away costs the hub a limited number of connections and bytes. This module must not know the
//! hub's sockets and routes, or what a client is told.
//!
//! # The signature
//!
//! Each request has a header `Hubplane-Signature: t=UNIXTIME,v1=HEX`. `HEX` is the HMAC-SHA256 over the
//! digits of `t`, a full stop and the body as it was received, with the secret of the setting `secret`
//! as its key (a file's white space around it does not count). A backend compares it, and refuses
//! what is too old, so that nobody else can ask it, or send what it was once asked again:
//!
//! ```python
//! def comes_from_the_hub(secret: bytes, header: str, body: bytes) -> bool:
//!     parts = dict(part.split("=", 1) for part in header.split(","))
//!     wanted = hmac.new(secret, parts["t"].encode() + b"." + body, "sha256").hexdigest()
//!     return hmac.compare_digest(wanted, parts["v1"]) and abs(time.time() - int(parts["t"])) <= 300
//! ```
//!
//! In Rust, [`SigningKey::verify`] does the same.

mod signature;

pub use self::signature::{BadSignature, MIN_SECRET, SIGNATURE_HEADER, SigningKey};
