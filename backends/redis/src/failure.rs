//! What went wrong with a node, sorted into the contract's kinds, with a sentence that says what to do.

use std::io;

use hubplane_backplane::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

use hubplane_kit::race;

use crate::{
    backend::NAME,
    config::{Config, Node},
};

pub(crate) fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, NAME, "this instance was closed")
}

pub(crate) fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, NAME, message)
}

/// The error that helps most.
pub(crate) fn telling(errors: Vec<Error>) -> Error {
    race::most_telling(errors, || unavailable("no node is named"))
}

/// The node follows another one. Sentinels may still name one that has just been demoted.
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

/// The socket, or TLS on it, failed.
pub(crate) fn of_socket(node: &Node, error: io::Error) -> Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
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
        rustls::Error::InvalidMessage(_) => {
            format!("{node} does not speak TLS; write redis://, or give its TLS port")
        }
        _ => format!("TLS with {node} failed"),
    };
    config(message).with_source(error)
}

/// Redis, or the protocol, refused the login or the first commands.
pub(crate) fn of_login(node: &Node, error: RedisError) -> Error {
    let message = match (error.code(), error.kind()) {
        (Some("WRONGPASS"), _) | (_, redis::ErrorKind::AuthenticationFailed) => {
            format!("{node} knows no such user with that password")
        }
        (Some("NOAUTH"), _) => {
            format!(
                "{node} wants a password; write redis://USER:PASSWORD@…, or the key password=env:NAME"
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

/// Redis refused the use of the prefix.
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

/// A node of a Cluster does not say where slots are.
pub(crate) fn of_slots(node: &Node, error: RedisError) -> Error {
    match error.code() {
        Some("NOPERM") => config(format!(
            "{node} forbids this user CLUSTER SLOTS, which tells where a stream is; give it the command cluster|slots"
        ))
        .with_source(error),
        _ => of_login(node, error),
    }
}

/// Whether a right is missing, also for a command within a transaction.
pub(crate) fn is_forbidden(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some("NOPERM") || detail.contains("NOPERM")
}

/// Redis refused a command on the streams.
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
            "{node} has other things under the keys of the streams; choose another prefix=…"
        ),
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
