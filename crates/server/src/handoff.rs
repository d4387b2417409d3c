//! Handing connections to shards: what a shard is given, and [`Shards`], the handle that chooses
//! the shard.
//!
//! A shard owns its sockets and its thread, so a connection crosses threads only here, once, before
//! anything is written for its session.

use std::{
    io, net,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use hubplane_hub::Hub;
use hyper::upgrade::Upgraded;
use tokio::{
    io::DuplexStream,
    net::TcpStream,
    sync::{Semaphore, mpsc},
};

use super::{
    handshakes::Handshakes,
    limiter::{Limiter, Peer},
    proxies::TrustedProxies,
    tls::{Secured, Tls},
    websocket::Negotiated,
};

/// A connection for a shard, at one of the three points where a shard takes one over.
#[derive(Debug)]
pub(super) enum Handoff {
    /// A new TCP connection, which speaks HTTP until a request upgrades it: over TLS if there is a
    /// certificate.
    Connection(net::TcpStream, Counted, Peer, Option<Tls>),
    /// A WebSocket after its handshake. `early` are bytes that the client sent together with the
    /// handshake.
    Upgraded {
        stream: Connection,
        early: Bytes,
        negotiated: Negotiated,
    },
    /// A session whose frames go into a pipe. hyper reads the pipe's other end as the body of a
    /// response.
    Body {
        pipe: DuplexStream,
        negotiated: Negotiated,
    },
}

/// Counts one connection that speaks HTTP: the count goes down when this value is dropped. A
/// connection that becomes a WebSocket is counted as a session instead.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicI64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The stream under a WebSocket.
#[derive(Debug)]
pub(super) enum Connection {
    /// A socket that is registered with the runtime of this shard.
    Here(TcpStream),
    /// A socket that comes from another thread: the shard registers it with its own runtime.
    Elsewhere(net::TcpStream),
    /// A TLS connection of the hub's own server. It stays on the shard that it came to.
    Secured(Secured),
    /// A connection of a server that embeds the hub. It may be TLS, and only hyper's interface is
    /// known of it.
    Foreign(Upgraded),
}

/// The running shards of a hub. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Shards {
    pub(super) hub: Arc<Hub>,
    pub(super) handoffs: Arc<[mpsc::Sender<Handoff>]>,
    /// How many connections speak HTTP now.
    pub(super) http: Arc<AtomicI64>,
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) limiter: Arc<Limiter>,
    /// One permit for each page of history that may be read at once (`history_requests`).
    pub(super) history: Arc<Semaphore>,
}

impl Shards {
    /// The hub that they are part of.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Names the proxies whose `X-Forwarded-For` says where a request comes from. To be called once,
    /// before [`Server::start`](crate::Server::start); without it none is believed.
    pub fn trust_proxies(&self, proxies: TrustedProxies) {
        self.limiter.trust(proxies);
    }

    /// The permits for pages of history.
    pub(super) const fn history(&self) -> &Arc<Semaphore> {
        &self.history
    }

    /// The counts of TLS handshakes.
    pub(super) const fn handshakes(&self) -> &Arc<Handshakes> {
        &self.handshakes
    }

    /// How many connections there are now: sessions, and connections that speak HTTP. The limit
    /// `connections` is for both.
    pub(super) fn connections(&self) -> i64 {
        self.hub.session_count() + self.http.load(Ordering::Relaxed)
    }

    /// Counts one more connection that speaks HTTP, until the returned value is dropped.
    pub(super) fn counted(&self) -> Counted {
        self.http.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.http))
    }

    /// Gives a connection to the shard with the fewest sessions. It does not wait for room.
    ///
    /// # Errors
    /// `ConnectionRefused`: that shard has stopped, or too many connections wait for it. Others:
    /// the socket could not be taken from its runtime.
    pub(super) fn give(&self, handoff: Handoff) -> io::Result<()> {
        let least = (0..self.handoffs.len())
            .min_by_key(|&shard| self.hub.sessions(shard))
            .unwrap_or_default();
        let handoff = handoff.moved()?;
        self.handoffs[least]
            .try_send(handoff)
            .map_err(|_full_or_stopped| io::ErrorKind::ConnectionRefused.into())
    }
}

impl Handoff {
    /// Takes a socket off the runtime of this thread, so that another thread's runtime can register
    /// it.
    fn moved(self) -> io::Result<Self> {
        Ok(match self {
            Self::Upgraded {
                stream: Connection::Here(stream),
                early,
                negotiated,
            } => Self::Upgraded {
                stream: Connection::Elsewhere(stream.into_std()?),
                early,
                negotiated,
            },
            other => other,
        })
    }
}
