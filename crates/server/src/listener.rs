//! Accepting TCP connections, and ending the hub in good order.
//!
//! A connection is accepted on one task and handed to the shard with the fewest sessions; the
//! shard's own thread serves it from then on. This file must not know what is spoken on a
//! connection, except for the 503 that it writes itself when there are too many connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    handoff::{Handoff, Shards},
    refusal::{self, Refusal},
    tls::Tls,
};
use hubplane_hub::{Hub, Limit, Limits};

/// Pause after the operating system refused a connection, for example because the process has no
/// file descriptor left. Without the pause, the loop would take a whole core until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long [`Server::stop`] waits for closing handshakes after it has told all sessions to end.
const CLOSING: Duration = Duration::from_secs(5);
/// Pause between the last answer of the broker and the end, so that shards can write that answer to
/// its client.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How many connections above the limit are answered 503 at the same time. More are closed without
/// an answer.
const REFUSALS: usize = 64;
/// How long such an answer may take, with the reading of the request before it.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// The answer to a connection of an address that has as many as it may have.
const TOO_MANY_OF_ONE: Refusal = Refusal {
    status: "429 Too Many Requests",
    headers: "retry-after: 1\r\n",
    title: "Too Many Requests",
    detail: "the limit address_connections is reached: your address has too many connections here; close some, or try again in 1000 ms",
};
/// The answer to a connection of an address that has made too many lately.
const TOO_OFTEN: Refusal = Refusal {
    status: "429 Too Many Requests",
    headers: "retry-after: 1\r\n",
    title: "Too Many Requests",
    detail: "the limit address_handshakes_per_second is reached: your address connects too often; try again in 1000 ms",
};
/// The answer to a connection above the limit, so that a load balancer tries another instance.
const TOO_MANY: Refusal = Refusal {
    status: "503 Service Unavailable",
    headers: "retry-after: 1\r\n",
    title: "Service Unavailable",
    detail: "this instance has as many connections as it takes; try another, or later",
};

/// A hub with its shards and its listener. Dropping it does not stop the hub: [`Server::stop`]
/// does.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts to accept connections and to hand them to the shards. Must be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// The listener's own address can't be read.
    pub fn start(shards: Shards, listener: TcpListener) -> io::Result<Self> {
        Self::accepting(shards, listener, None)
    }

    /// As [`Server::start`], with TLS on every connection. The certificate's files are looked at
    /// every few seconds, and new connections get what they hold then.
    ///
    /// # Errors
    /// The listener's own address can't be read.
    pub fn start_tls(shards: Shards, listener: TcpListener, tls: Tls) -> io::Result<Self> {
        Self::accepting(shards, listener, Some(tls))
    }

    fn accepting(shards: Shards, listener: TcpListener, tls: Option<Tls>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let hub = Arc::clone(shards.hub());
        let accepting = tokio::spawn(async move {
            match tls {
                None => accept(listener, shards, None).await,
                Some(tls) => {
                    let accepting = accept(listener, shards, Some(tls.clone()));
                    tokio::join!(accepting, tls.watch());
                }
            }
        });
        Ok(Self {
            hub,
            address,
            accepting,
        })
    }

    /// The address that the server listens on, with the port that the operating system chose if
    /// port 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hub behind it.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Stops in good order: accepts no more connections, tells every client to connect elsewhere
    /// (close 1012), spread evenly over `drain`, waits until the clients are gone and until what
    /// they published is answered, and then leaves the broker.
    ///
    /// It returns as soon as all of that is done. Each wait has a limit, so a client or a broker
    /// that does not answer can't hold up the end.
    pub async fn stop(self, drain: Duration) {
        self.accepting.abort();
        self.hub.end_sessions(drain).await;
        let hub = &*self.hub;
        _ = timeout(drain + CLOSING, hub.until_no_sessions()).await;
        // The publisher gives up after `publish_timeout`; the second more is for its own last
        // answers.
        let answers = hub.limits().publish_timeout + Duration::from_secs(1);
        _ = timeout(answers, hub.until_answered()).await;
        // For the last answers to be written.
        sleep(LAST_WORDS).await;
        hub.close().await;
    }
}

/// Sets the options that find a peer which is gone without a word: keepalive for a silent
/// connection, and `TCP_USER_TIMEOUT` for bytes that the peer never acknowledges. Also turns off
/// Nagle's algorithm, which would hold back small frames.
fn watch_peer(stream: &TcpStream, limits: &Limits) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(limits.ping_interval);
    // Errors are ignored: without the options the connection still works, and the hub's pings find
    // dead clients.
    _ = stream.set_nodelay(true);
    _ = socket.set_tcp_keepalive(&keepalive);
    _ = socket.set_tcp_user_timeout(Some(limits.user_timeout));
}

/// Accepts connections until the task is aborted. An error ends nothing: the loop logs it and goes
/// on.
async fn accept(listener: TcpListener, shards: Shards, tls: Option<Tls>) {
    let most = i64::try_from(shards.hub().limits().connections).unwrap_or(i64::MAX);
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if shards.connections() >= most {
            tracing::warn!(most, "the limit of connections is reached");
            refuse(stream, &TOO_MANY, (&refusals, tls.is_some()));
            continue;
        }
        let peer = match shards.limiter.arrive(shards.hub(), address.ip()) {
            Ok(peer) => peer,
            Err(limited) => {
                let answer = match limited.limit {
                    Limit::AddressHandshakes => &TOO_OFTEN,
                    _ => &TOO_MANY_OF_ONE,
                };
                refuse(stream, answer, (&refusals, tls.is_some()));
                continue;
            }
        };
        watch_peer(&stream, shards.hub().limits());
        // A socket is registered with the runtime that it was made in. The standard library's form
        // can be moved to the shard's own runtime.
        let given = stream.into_std().and_then(|stream| {
            let counted = shards.counted();
            shards.give(Handoff::Connection(stream, counted, peer, tls.clone()))
        });
        if let Err(error) = given {
            tracing::warn!(%error, "no shard takes a new connection");
        }
    }
}

/// Answers a connection that is not served. If all places for answers are taken, it is dropped,
/// which closes it. So is one that speaks TLS: a handshake costs more than an answer is worth.
fn refuse(stream: TcpStream, answer: &'static Refusal, (places, is_tls): (&Arc<Semaphore>, bool)) {
    if !is_tls && let Ok(place) = Arc::clone(places).try_acquire_owned() {
        tokio::spawn(async move {
            _ = timeout(REFUSAL_TIME, refusal::answer(stream, answer)).await;
            drop(place);
        });
    }
}
