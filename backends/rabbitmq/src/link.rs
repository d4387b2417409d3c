//! One connection to the broker: how it is made and cut, and how its errors are put into words.
//!
//! It connects once, to one node or to the first that answers; the loops that try again are the
//! tasks'. A lost connection ends every channel on it. Reply codes are those of AMQP 0-9-1
//! (<https://www.rabbitmq.com/amqp-0-9-1-reference#constants>). No password may get into a message:
//! only names and the broker's own words do.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use futures_util::{StreamExt, stream::BoxStream};
use hubplane_backplane::{Error, ErrorKind, Result};
use hubplane_kit::race;
use lapin::{
    Channel, Connection, ConnectionProperties, Event,
    tcp::{AsyncTcpStream, RustlsConnector},
    types::{ReplyCode, ShortString},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism},
};
use socket2::{SockRef, Socket};
use tokio::{net::lookup_host, time::timeout};

use crate::{
    capabilities::NAME,
    config::Config,
    nodes::{Node, Nodes},
};

/// Seconds. The tasks' questions see a dead broker sooner; this ends the broker's side of a dead
/// connection.
const HEARTBEAT: u16 = 10;
/// How long looking up a name may take, and then TCP, TLS and the AMQP handshake with one of its IP
/// addresses.
const DIAL: Duration = Duration::from_secs(5);
/// How long the broker may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// AMQP's reply codes, as far as they are told apart here.
pub(crate) const ACCESS_REFUSED: ReplyCode = 403;
pub(crate) const NOT_FOUND: ReplyCode = 404;
pub(crate) const PRECONDITION_FAILED: ReplyCode = 406;
const NOT_ALLOWED: ReplyCode = 530;
/// What RabbitMQ says of a queue that another consumer has for itself, with the code of a missing
/// permission.
const EXCLUSIVE: &str = "in exclusive use";
/// What a node says that has no running copy of a stream, with the code of other arguments.
const NO_REPLICA: &str = "replica on the local node";

/// Ends the socket when it is dropped. lapin alone would keep a thread on a broker that is silent,
/// frozen or blocks us, since it can't write its goodbye.
#[derive(Debug)]
struct Cut(Socket);

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Returns the error that says most of why no node could be reached; see [`race::most_telling`].
fn telling(errors: Vec<Error>) -> Error {
    let none = || Error::new(ErrorKind::Config, NAME, "no host is named");
    race::most_telling(errors, none)
}

/// An open connection. Dropping it cuts its socket, without a goodbye.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    /// The node that it leads to.
    pub(crate) node: Node,
    _cut: Cut,
}

impl Link {
    /// Connects to the node that answers first; `role` is shown in the broker's list of
    /// connections.
    pub(crate) async fn dial(config: &Config, nodes: &Nodes, role: &str) -> Result<Self> {
        let attempts = nodes
            .order()
            .map(|node| Self::dial_node(config, node, role));
        race::first(attempts).await.map_err(telling)
    }

    /// Connects to one node: to that of its IP addresses that answers first, within 5 s for the
    /// name and 5 s for the rest.
    pub(crate) async fn dial_node(config: &Config, node: Node, role: &str) -> Result<Self> {
        let (name, port) = &config.hosts[node];
        let silent = |_| {
            let message = format!("{name}:{port} did not answer within 5 s");
            Error::new(ErrorKind::Unavailable, NAME, message)
        };
        let found = timeout(DIAL, lookup_host((name.as_str(), *port))).await;
        let addresses = found
            .map_err(silent)?
            .map_err(|error| unreachable(&config.hosts[node], error))?;
        let addresses: Vec<_> = addresses.collect();
        if addresses.is_empty() {
            let nothing = io::Error::from(io::ErrorKind::NotFound);
            return Err(unreachable(&config.hosts[node], nothing));
        }
        let attempts = addresses.into_iter().map(async |address| {
            let attempt = Self::dial_address(config, node, address, role);
            timeout(DIAL, attempt).await.map_err(silent)?
        });
        race::first(attempts).await.map_err(telling)
    }

    /// Connects to one IP address, with TLS for the host's name if the address asks for it, and
    /// logs in.
    async fn dial_address(
        config: &Config,
        node: Node,
        address: SocketAddr,
        role: &str,
    ) -> Result<Self> {
        let host = &config.hosts[node];
        let unreachable = |error| unreachable(host, error);
        let runtime = lapin::runtime::default_runtime()
            .expect("invariant: lapin is built with its tokio runtime");
        let mut stream = AsyncTcpStream::connect(&runtime, address)
            .await
            .map_err(unreachable)?;
        let AsyncTcpStream::Plain(plain) = &stream else {
            unreachable!("invariant: no TLS before into_rustls")
        };
        // A second handle of the same socket, since lapin takes the stream for good.
        let socket = SockRef::from(plain.get_ref()).try_clone();
        let cut = Cut(socket.map_err(unreachable)?);
        if let Some(tls) = &config.tls {
            let tls = RustlsConnector::from(std::sync::Arc::clone(tls));
            stream = stream
                .into_rustls(&tls, &host.0)
                .await
                .map_err(|error| tls_failed(&host.0, host.1, error))?;
        }
        // lapin asks for the stream once, on a thread of its own.
        let stream = Mutex::new(Some(stream));
        let connect = async move |_, _| {
            let mut stream = stream.lock().unwrap_or_else(|poison| poison.into_inner());
            stream
                .take()
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
        };
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("hubplane {} {role}", config.exchange).into());
        let connection = Connection::connector(uri(config, host), runtime, connect, properties);
        Ok(Self {
            connection: connection
                .await
                .map_err(|error| explain(config, "connecting", error))?,
            node,
            _cut: cut,
        })
    }

    /// Opens a channel. An error on one channel ends that channel, and with some codes the whole
    /// connection.
    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// Returns true while the broker says that it takes no publications (`connection.blocked`).
    pub(crate) fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Returns what happens to the connection: errors, and when the broker blocks or unblocks it.
    pub(crate) fn events(&self) -> BoxStream<'static, Event> {
        self.connection.events_listener().boxed()
    }

    /// Says goodbye, and cuts the connection if that takes longer than a second.
    pub(crate) async fn close(self) {
        let goodbye = self.connection.close(200, ShortString::from("closed"));
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

/// Returns the error for a node without a TCP connection.
fn unreachable((name, port): &(String, u16), error: io::Error) -> Error {
    let message = format!("no RabbitMQ can be reached at {name}:{port}");
    Error::new(ErrorKind::Unavailable, NAME, message).with_source(error)
}

/// Returns what lapin needs for the login.
fn uri(config: &Config, (name, port): &(String, u16)) -> AMQPUri {
    AMQPUri {
        scheme: match config.tls {
            Some(_) => AMQPScheme::AMQPS,
            None => AMQPScheme::AMQP,
        },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: config.username.clone(),
                password: config.password.reveal().to_owned(),
            },
            host: name.clone(),
            port: *port,
        },
        vhost: config.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(HEARTBEAT),
            auth_mechanism: Some(SASLMechanism::Plain),
            ..AMQPQueryString::default()
        },
    }
}

/// Returns the error for a TLS handshake that failed: `Config` if trying again can't help.
fn tls_failed(name: &str, port: u16, error: io::Error) -> Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let advice = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate is not trusted: the address must name the host as the certificate does, \
             and ca=FILE the authority that signed it"
        }
        Some(rustls::Error::AlertReceived(_)) => {
            "it ended the handshake: it may ask for a client certificate (cert=FILE, key=FILE)"
        }
        Some(_) => "that port does not speak TLS as expected; amqp:// is for plain ports",
        None if error.kind() == io::ErrorKind::InvalidData => {
            "that is no host name that a certificate could carry"
        }
        None => {
            let message = format!("the TLS handshake with {name}:{port} broke off");
            return Error::new(ErrorKind::Unavailable, NAME, message).with_source(error);
        }
    };
    let message = format!("no TLS with {name}:{port}: {advice}");
    Error::new(ErrorKind::Config, NAME, message).with_source(error)
}

/// Returns a sentence on what the user may not do, and which permissions it takes. RabbitMQ 3.10
/// names what is refused, but not the permission that is missing; so `doing` says it.
fn permissions(config: &Config, doing: &str) -> String {
    let (user, exchange) = (&config.username, &config.exchange);
    let also = match config.retention {
        None => format!("and for \"{exchange}\" and \"{exchange}.lost\""),
        Some(_) => format!("and for \"{exchange}\", and write for \"amq.default\""),
    };
    format!(
        "RabbitMQ refuses the user {user:?} while {doing}; hubplane needs the permissions configure, write and read for names \
         that begin with \"hubplane.{exchange}.\" {also}"
    )
}

/// Returns the broker's reply code; `None` if it was not the broker that refused.
pub(crate) fn reply_code(error: &lapin::Error) -> Option<ReplyCode> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Returns an error of lapin's as one of ours, with what to do about it. `doing` says what was
/// tried, as in “looking for the stream”. `Config` if a person has to change something, else
/// `Unavailable`.
pub(crate) fn explain(config: &Config, doing: &str, error: lapin::Error) -> Error {
    let (user, vhost, exchange) = (&config.username, &config.vhost, &config.exchange);
    let advice = match reply_code(&error) {
        Some(ACCESS_REFUSED) if doing == "connecting" => format!(
            "RabbitMQ refuses the user {user:?}: check the user name and the password in the address"
        ),
        // It passes when the broker notices that the last connection is gone.
        Some(ACCESS_REFUSED) if error.to_string().contains(EXCLUSIVE) => {
            let message = "RabbitMQ still believes this instance's last connection alive";
            return Error::new(ErrorKind::Unavailable, NAME, message).with_source(error);
        }
        // It passes when the cluster has a new leader for the stream, and this node follows it.
        Some(PRECONDITION_FAILED) if error.to_string().contains(NO_REPLICA) => {
            let message =
                format!("{doing}: this node of RabbitMQ has no running copy of the stream now");
            return Error::new(ErrorKind::Unavailable, NAME, message).with_source(error);
        }
        Some(ACCESS_REFUSED) => permissions(config, doing),
        Some(NOT_ALLOWED) => format!(
            "there is no virtual host {vhost:?}, or the user {user:?} may not use it; the address names it behind \
             the hosts: amqp://HOST/VHOST"
        ),
        Some(PRECONDITION_FAILED) => format!(
            "{exchange:?} or {exchange:?}.lost exists as another kind of exchange: hubplane needs a durable fanout \
             (and a durable direct) one; delete it, or name another with exchange=NAME"
        ),
        _ => {
            let message = format!("{doing} failed at {}", config.shown());
            return Error::new(ErrorKind::Unavailable, NAME, message).with_source(error);
        }
    };
    Error::new(ErrorKind::Config, NAME, advice).with_source(error)
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPSoftError};

    use super::*;

    fn explained(text: &str) -> Error {
        let config = Config::read(&"amqp://broker?exchange=x".parse().unwrap()).unwrap();
        let error = AMQPError::new(AMQPSoftError::PRECONDITIONFAILED.into(), text.into());
        let error = lapin::Error::from(lapin::ErrorKind::ProtocolError(error));
        explain(&config, "reading the stream", error)
    }

    #[test]
    fn a_stream_without_a_copy_here_is_no_fault_of_the_configuration() {
        let passing = "queue 'x' in vhost '/' does not have a replica on the local node";
        let error = explained(passing);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("no running copy"), "{error}");
        let lasting = "inequivalent arg 'type' for exchange 'x' in vhost '/'";
        let error = explained(lasting);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("another kind"), "{error}");
    }
}
