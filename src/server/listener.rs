//! Accepting connections, and ending in good order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::threads::{Newcomer, Shards};
use crate::{
    auth::Access,
    hub::{Hub, Mailbox},
};

/// Pause after the operating system refused a connection, such as when no file is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the end of the sessions is waited for.
const DRAIN: Duration = Duration::from_secs(5);

/// A hub with its shards' threads and its listener.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts the shards' threads and accepts connections.
    ///
    /// # Errors
    /// The operating system gives no more threads or files.
    pub fn start(
        hub: Arc<Hub>,
        mailboxes: Vec<Mailbox>,
        listener: TcpListener,
        access: &Arc<Access>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shards = Shards::start(&hub, mailboxes, access)?;
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

    /// Accepts nothing more, tells every client to go elsewhere, waits some seconds for them, and leaves the broker.
    pub async fn stop(self) {
        self.accepting.abort();
        self.hub.end_sessions().await;
        let deadline = Instant::now() + DRAIN;
        while self.hub.session_count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        self.hub.close().await;
    }
}

async fn accept(listener: TcpListener, shards: Shards) {
    let most = i64::try_from(shards.hub().limits().connections).unwrap_or(i64::MAX);
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
            // Closed at once: the load balancer tries another instance.
            tracing::warn!(most, "the limit of connections is reached");
            continue;
        }
        _ = stream.set_nodelay(true);
        let given = stream
            .into_std()
            .and_then(|stream| shards.give(Newcomer::Connection(stream, shards.counted())));
        if let Err(error) = given {
            tracing::warn!(%error, "no shard takes a new connection");
        }
    }
}
