//! One connection to the broker: made, cut, and its errors put into words.

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

/// Seconds; the probes see a dead broker sooner, this ends the broker's side of a dead connection.
const HEARTBEAT: u16 = 10;
/// For looking up a name, and then for TCP, TLS and the AMQP handshake with one of its IP addresses.
const DIAL: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_secs(1);

/// AMQP's reply codes, as far as they are told apart here.
pub(crate) const ACCESS_REFUSED: ReplyCode = 403;
pub(crate) const NOT_FOUND: ReplyCode = 404;
pub(crate) const PRECONDITION_FAILED: ReplyCode = 406;
const NOT_ALLOWED: ReplyCode = 530;
/// So RabbitMQ names a queue that another consumer has for itself; it is no matter of permissions.
const EXCLUSIVE: &str = "in exclusive use";

/// Ends the socket when it is dropped: lapin alone would keep a thread on a broker that is silent, frozen or that blocks
/// us, since it can't write its goodbye.
#[derive(Debug)]
struct Cut(Socket);

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The error that says most of why no node could be reached.
fn telling(errors: Vec<Error>) -> Error {
    let none = || Error::new(ErrorKind::Config, NAME, "no host is named");
    race::most_telling(errors, none)
}

/// A connection. Dropping it cuts its socket.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    /// Where it leads.
    pub(crate) node: Node,
    _cut: Cut,
}

impl Link {
    /// Connects to the node that answers first; `role` is shown in the broker's list of connections.
    pub(crate) async fn dial(config: &Config, nodes: &Nodes, role: &str) -> Result<Self> {
        let attempts = nodes
            .order()
            .map(|node| Self::dial_node(config, node, role));
        race::first(attempts).await.map_err(telling)
    }

    /// Connects to one node: to that of its IP addresses that answers first.
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

    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// Whether the broker has said that it takes no publications now.
    pub(crate) fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(crate) fn events(&self) -> BoxStream<'static, Event> {
        self.connection.events_listener().boxed()
    }

    /// Says goodbye, or cuts the connection where that takes longer than a second.
    pub(crate) async fn close(self) {
        let goodbye = self.connection.close(200, ShortString::from("closed"));
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

fn unreachable((name, port): &(String, u16), error: io::Error) -> Error {
    let message = format!("no RabbitMQ can be reached at {name}:{port}");
    Error::new(ErrorKind::Unavailable, NAME, message).with_source(error)
}

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

/// What the user may not do, and what it takes. RabbitMQ 3.10 names what is refused, but not the permission that is
/// missing; so `doing` says it.
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

/// The broker's reply code, where it is the broker that refused.
pub(crate) fn reply_code(error: &lapin::Error) -> Option<ReplyCode> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// An error of lapin's as one of ours, with what to do about it.
pub(crate) fn explain(config: &Config, doing: &str, error: lapin::Error) -> Error {
    let (user, vhost, exchange) = (&config.username, &config.vhost, &config.exchange);
    let advice = match reply_code(&error) {
        Some(ACCESS_REFUSED) if doing == "connecting" => format!(
            "RabbitMQ refuses the user {user:?}: check the user name and the password in the address"
        ),
        Some(ACCESS_REFUSED) if error.to_string().contains(EXCLUSIVE) => {
            let message = "RabbitMQ still believes this instance's last connection alive";
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
