//! Accepting connections, and ending in good order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::handoff::{Handoff, Shards};
use hubplane_hub::Hub;
use hubplane_hub::Limits;

/// Pause after the operating system refused a connection, such as when no file is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the sessions' closing handshakes are waited for once all were told to end.
const CLOSING: Duration = Duration::from_secs(5);
/// From the last answer of the broker to the end.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Connections above the limit that are answered at once.
const REFUSALS: usize = 64;
/// For such an answer.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// How much of a refused request is read before the answer.
const REFUSED_HEAD: usize = 4 * 1024;
/// How often this checks whether they are over.
const LOOK: Duration = Duration::from_millis(20);

/// A hub with its shards and its listener.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Accepts connections for these shards.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(shards: Shards, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let hub = Arc::clone(shards.hub());
        let accepting = tokio::spawn(accept(listener, shards));
        Ok(Self {
            hub,
            address,
            accepting,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hub behind it.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Accepts nothing more, tells every client to go elsewhere, spread evenly over `drain`, waits until they are gone and
    /// what they published is answered, and leaves the broker. Not longer than it takes.
    pub async fn stop(self, drain: Duration) {
        self.accepting.abort();
        self.hub.end_sessions(drain).await;
        let hub = &*self.hub;
        until(|| hub.session_count() == 0, drain + CLOSING).await;
        let answers = hub.limits().publish_timeout + Duration::from_secs(1);
        until(|| hub.publishing() == 0, answers).await;
        // For the last answers to be written.
        sleep(LAST_WORDS).await;
        hub.close().await;
    }
}

/// Waits until something is so, at most for a time.
async fn until(is_so: impl Fn() -> bool, most: Duration) {
    let deadline = Instant::now() + most;
    while !is_so() && Instant::now() < deadline {
        sleep(LOOK).await;
    }
}

/// Without these a client that is gone without a word is found only by its pings, and what is written to it waits.
fn watch_peer(stream: &TcpStream, limits: &Limits) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(limits.ping_interval);
    // A socket that takes no options works as well.
    _ = stream.set_nodelay(true);
    _ = socket.set_tcp_keepalive(&keepalive);
    _ = socket.set_tcp_user_timeout(Some(limits.user_timeout));
}

/// Answers a connection above the limit, so that a load balancer tries another instance. Its request is read first: a
/// socket that is closed with unread bytes is reset, and the answer with it.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let mut head = vec![0; REFUSED_HEAD];
    let mut read = 0;
    while read < head.len() && !head[..read].windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut head[read..]).await? {
            0 => return Ok(()),
            count => read += count,
        }
    }
    let detail = "this instance has as many connections as it takes; try another, or later";
    let body = format!(
        r#"{{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"{detail}"}}"#
    );
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut head).await? > 0 {}
    Ok(())
}

async fn accept(listener: TcpListener, shards: Shards) {
    let most = i64::try_from(shards.hub().limits().connections).unwrap_or(i64::MAX);
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if shards.connections() >= most {
            tracing::warn!(most, "the limit of connections is reached");
            // Without a place it is closed at once.
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    _ = timeout(REFUSAL_TIME, refuse(stream)).await;
                    drop(place);
                });
            }
            continue;
        }
        watch_peer(&stream, shards.hub().limits());
        let given = stream
            .into_std()
            .and_then(|stream| shards.give(Handoff::Connection(stream, shards.counted())));
        if let Err(error) = given {
            tracing::warn!(%error, "no shard takes a new connection");
        }
    }
}
