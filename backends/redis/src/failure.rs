//! Turns what went wrong with a node into errors of the contract, each with a sentence that says
//! what to do about it.
//!
//! The kind decides what happens next: `Unavailable` passes by itself and is tried again; `Config`
//! needs a person, and is shown once in the log and to clients. So an error counts as `Config` only
//! if trying again can't help. Redis's error codes are the first word of its answers
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>). No password may
//! get into a message: only the node, the prefix and Redis's own words do.

use std::io;

use hubplane_backplane::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

use hubplane_kit::race;

use crate::{
    backend::NAME,
    config::{Config, Node},
};

/// Returns an error that passes by itself: the caller or the reconnect loop tries again.
pub(crate) fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

/// Returns the answer to every call on an instance that was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, NAME, "this instance was closed")
}

/// Returns an error that lasts until somebody changes the address or Redis's settings.
pub(crate) fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, NAME, message)
}

/// Returns the error that helps most of those that several nodes gave; see [`race::most_telling`].
pub(crate) fn telling(errors: Vec<Error>) -> Error {
    race::most_telling(errors, || unavailable("no node is named"))
}

/// Returns the error for a node that is a replica. If Sentinels named it, it was demoted a moment
/// ago and they will name another one, so it is `Unavailable`; an address that names it is wrong
/// and stays wrong.
pub(crate) fn of_replica(node: &Node, named_by_sentinels: bool) -> Error {
    match named_by_sentinels {
        true => unavailable(format!(
            "{node}, which the Sentinels call the master, is a replica"
        )),
        false => config(format!(
            "{node} is a replica: what is published there does not reach those who are connected to its master; name the \
             master in the address, or its Sentinels (sentinel=NAME-OF-THE-MASTER)"
        )),
    }
}

/// Returns the error for a socket, or TLS on it, that failed before anything was said to Redis.
pub(crate) fn of_socket(node: &Node, error: io::Error) -> Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    // The TLS library hides its own error in an I/O error. What isn't one is the network's.
    let Some(tls) = tls else {
        return unavailable(format!("{node} can't be reached")).with_source(error);
    };
    let message = match tls {
        rustls::Error::InvalidCertificate(_) => format!(
            "the certificate of {node} is not trusted; the host in the address must be a name in the certificate, \
             and ca=… the authority that signed it"
        ),
        rustls::Error::AlertReceived(_) => format!(
            "{node} refused the TLS handshake; if it asks for client certificates, give cert=… and key=…"
        ),
        // A plain Redis port answers a TLS greeting with text.
        rustls::Error::InvalidMessage(_) => {
            format!("{node} does not speak TLS; write redis://, or give its TLS port")
        }
        _ => format!("TLS with {node} failed"),
    };
    config(message).with_source(error)
}

/// Returns the error for a login, or one of the first commands, that Redis or the protocol refused.
/// What isn't known here is `Unavailable`: a server that is loading its data, or is full of
/// clients, says such things, too.
pub(crate) fn of_login(node: &Node, error: RedisError) -> Error {
    let message = match (error.code(), error.kind()) {
        (Some("WRONGPASS"), _) | (_, redis::ErrorKind::AuthenticationFailed) => {
            format!("{node} knows no such user with that password")
        }
        (Some("NOAUTH"), _) => {
            format!(
                "{node} asks for a password; write redis://USER:PASSWORD@…, or the key password=env:NAME"
            )
        }
        (Some("NOPERM"), _) => format!(
            "{node} forbids this user a command that is needed: publish, subscribe and unsubscribe"
        ),
        (Some("DENIED"), _) => {
            format!(
                "{node} is in protected mode: it takes no connections from other hosts without a password"
            )
        }
        (_, redis::ErrorKind::RESP3NotSupported) | (Some("NOPROTO"), _) => {
            format!("{node} is too old: Redis 6 or newer is needed")
        }
        (_, redis::ErrorKind::Parse) => {
            format!(
                "what listens at {node} does not speak Redis's protocol; with TLS write rediss://"
            )
        }
        // A plain ERR: SELECT of a database that isn't there, for example. Only this one of them
        // passes by itself.
        (_, redis::ErrorKind::Server(ServerErrorKind::ResponseError))
            if !error
                .detail()
                .unwrap_or_default()
                .contains("max number of clients") =>
        {
            format!("{node} refused the connection's settings")
        }
        _ => return unavailable(format!("{node} does not answer")).with_source(error),
    };
    config(message).with_source(error)
}

/// Returns the error for the trial of a subscription and a publication at the start; see `probe` in
/// the crate's root.
pub(crate) fn of_probe(node: &Node, prefix: &str, error: RedisError) -> Error {
    match error.code() {
        Some("NOPERM") => config(format!(
            "{node} forbids this user to publish or subscribe under the prefix {prefix:?}; give it the channels \
             (ACL SETUSER … &{prefix}*) and the commands publish, subscribe and unsubscribe, or choose another \
             prefix=…"
        ))
        .with_source(error),
        _ => of_login(node, error),
    }
}

/// Returns the error for `CLUSTER SLOTS`, without which the streams of a Cluster can't be found.
pub(crate) fn of_slots(node: &Node, error: RedisError) -> Error {
    match error.code() {
        Some("NOPERM") => config(format!(
            "{node} forbids this user CLUSTER SLOTS, which tells where a stream is; give it the command cluster|slots"
        ))
        .with_source(error),
        _ => of_login(node, error),
    }
}

/// Returns true if the user lacks a right. A command within MULTI and EXEC that is refused has
/// `NOPERM` in the detail of another code, `EXECABORT`.
pub(crate) fn is_forbidden(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some("NOPERM") || detail.contains("NOPERM")
}

/// Returns the error for a command on the streams that Redis refused, or left without an answer.
pub(crate) fn of_log(node: &Node, settings: &Config, error: RedisError) -> Error {
    let prefix = &settings.prefix;
    let code = match is_forbidden(&error) {
        true => Some("NOPERM"),
        false => error.code(),
    };
    let message = match code {
        Some("NOPERM") => format!(
            "{node} forbids this user the streams under the prefix {prefix:?}; give it the keys (ACL SETUSER … ~{prefix}*) \
             and the commands xadd, xread, xrange, xlen, xinfo, get, mget, set, watch, unwatch, multi, exec and time, \
             or choose another prefix=…"
        ),
        Some("WRONGTYPE") => format!(
            "{node} has other values under the keys of the streams; choose another prefix=…"
        ),
        // With `cluster=true` a slot that moves answers so; then the node is looked for again.
        Some("CROSSSLOT" | "MOVED") if !settings.is_cluster() => {
            format!("{node} is a node of a Cluster; write cluster=true")
        }
        Some(code) => {
            let detail = error.detail().unwrap_or_default();
            return unavailable(format!("{node} refuses: {code} {detail}"));
        }
        None => return unavailable(format!("{node} does not answer")).with_source(error),
    };
    config(message).with_source(error)
}
