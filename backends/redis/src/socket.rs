//! TCP, and TLS on it, under the client library. It counts what passes through, so that silence and
//! unwritten bytes can be seen, and it stops reading while the inbox is full.
//!
//! The library offers neither: it hides the error that ended a socket, and it hands over messages
//! without any bound. This file knows bytes only, no commands; how long silence may last is decided
//! in [`crate::connection`].

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use redis::io::tcp::socket2;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{config::Node, inbox::Inbox};
use hubplane_kit::race;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up
/// (`TCP_USER_TIMEOUT`, tcp(7)). Without it a cut cable under written data is noticed after a
/// quarter of an hour.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// What passed through a socket, and how it ended. Shared with those who watch the connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    read: AtomicU64,
    written: AtomicU64,
    fault: Mutex<Option<io::Error>>,
}

impl Meter {
    /// Returns how many bytes were read so far, after decryption.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns how many bytes the socket took so far; they may still be in the kernel.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Returns why the socket ended, once it did, and only to the first who asks. The library gives
    /// its callers no more than that the connection is gone.
    pub(crate) fn take_fault(&self) -> Option<io::Error> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Keeps the first error, which is the cause of all later ones. Returns a copy for the library;
    /// an I/O error can't be cloned, so the copy has the kind and the words alone.
    fn failed(&self, error: io::Error) -> io::Error {
        let copy = io::Error::new(error.kind(), error.to_string());
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        copy
    }
}

/// One connection's bytes, as the library reads and writes them.
pub(crate) struct Socket {
    stream: Stream,
    pub(crate) meter: Arc<Meter>,
    /// Stops the reading while it is full; `None` on connections that receive no messages.
    inbox: Option<Arc<Inbox>>,
}

/// With TLS or without; boxed, because a TLS session is many times larger.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Connects to a node: to that of its addresses that answers first, and with `tls` does the
    /// handshake for the node's name. Sets no time limit; the caller does.
    pub(crate) async fn connect(
        node: &Node,
        tls: Option<&Arc<ClientConfig>>,
        inbox: Option<Arc<Inbox>>,
    ) -> io::Result<Self> {
        let addresses = lookup_host((node.name.as_str(), node.port)).await?;
        let tcp = race::first(addresses.map(TcpStream::connect)).await;
        let tcp = tcp.map_err(|errors| {
            let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            errors.into_iter().next().unwrap_or_else(unknown)
        })?;
        // Each write is a whole pipeline; holding it back for the acknowledgement of the last one
        // costs 40 ms and gains nothing.
        tcp.set_nodelay(true)?;
        let options = socket2::SockRef::from(&tcp);
        // For routers between, which forget connections that are idle.
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(10));
        options.set_tcp_keepalive(&keepalive)?;
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                // The certificate must carry the name that the address gives, whatever IP address
                // it led to.
                let name = ServerName::try_from(node.name.clone())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                let connector = TlsConnector::from(Arc::clone(config));
                Stream::Tls(Box::new(connector.connect(name, tcp).await?))
            }
        };
        Ok(Self {
            stream,
            meter: Arc::default(),
            inbox,
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // This is the whole back-pressure: while the inbox is full nothing is read, the kernel's
        // buffers fill, and Redis sees it.
        if let Some(inbox) = &self.inbox {
            ready!(inbox.poll_open(context));
        }
        let before = buffer.filled().len();
        let result = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        });
        Poll::Ready(match result {
            Ok(()) => {
                let count = (buffer.filled().len() - before) as u64;
                self.meter.read.fetch_add(count, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.meter.failed(error)),
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
        });
        Poll::Ready(match result {
            Ok(count) => {
                self.meter
                    .written
                    .fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) => Err(self.meter.failed(error)),
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        });
        Poll::Ready(result.map_err(|error| self.meter.failed(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
