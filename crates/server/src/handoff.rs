//! What the shards are given: connections, and the handle that gives them.

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

use super::websocket::Negotiated;

/// A connection for a shard.
#[derive(Debug)]
pub(super) enum Handoff {
    /// Speaks HTTP.
    Connection(net::TcpStream, Counted),
    /// Is a WebSocket.
    Upgraded {
        stream: Connection,
        early: Bytes,
        negotiated: Negotiated,
    },
    /// Is the body of a response, which is read at the pipe's other end.
    Body {
        pipe: DuplexStream,
        negotiated: Negotiated,
    },
}

/// One connection that speaks HTTP, counted for as long as it does.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicI64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a WebSocket runs over.
#[derive(Debug)]
pub(super) enum Connection {
    /// Ready for use.
    Here(TcpStream),
    /// To be registered here.
    Elsewhere(net::TcpStream),
    /// Another server's.
    Foreign(Upgraded),
}

/// The running shards of a hub; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shards {
    pub(super) hub: Arc<Hub>,
    pub(super) handoffs: Arc<[mpsc::Sender<Handoff>]>,
    /// Connections that speak HTTP.
    pub(super) http: Arc<AtomicI64>,
    /// A place for each page of history that is read at once.
    pub(super) history: Arc<Semaphore>,
}

impl Shards {
    /// The hub that they are part of.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) const fn history(&self) -> &Arc<Semaphore> {
        &self.history
    }

    /// How many connections there are: WebSockets, and those that speak HTTP.
    pub(super) fn connections(&self) -> i64 {
        self.hub.session_count() + self.http.load(Ordering::Relaxed)
    }

    /// Counts a connection in.
    pub(super) fn counted(&self) -> Counted {
        self.http.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.http))
    }

    /// Gives a connection to the shard with the fewest sessions. Fails where all are stopped or too busy.
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
    /// Off this thread's runtime.
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
