//! The front port: a balancer without sticky sessions, small enough to be read. It looks at each connection's first
//! request and then only copies bytes.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use httparse::{EMPTY_HEADER, Request, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::instance::Instance;

/// The most bytes that a request's head may have.
const HEAD_BYTES: usize = 16 * 1024;
/// The most header lines that it may have.
const HEADERS: usize = 100;
/// How long a client may take to send the head.
/// A slower client would hold one of [`CONNECTIONS`] places for ever.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The most connections at once; the front closes those beyond.
/// Fewer than a process may usually open files, of which each connection needs two.
const CONNECTIONS: usize = 1_024;
/// For how many clients the front remembers the instance.
const CLIENTS: usize = 1_024;
/// Longest name of a client.
const CLIENT_BYTES: usize = 64;
/// Pause after the operating system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const MALFORMED: &str = "HTTP/1.1 400 Bad Request";
const NOBODY: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1";

/// The balancer.
#[derive(Debug)]
pub(super) struct Front {
    instances: Arc<[Instance]>,
    /// Where the page's own server listens.
    page: SocketAddr,
    /// Counts connections; its remainder is the instance whose turn it is.
    turn: AtomicUsize,
    /// Which instance holds which client's socket, the latest last. A queue, so that the oldest can be forgotten.
    clients: Mutex<VecDeque<(String, usize)>>,
}

impl Front {
    pub(super) fn new(instances: Arc<[Instance]>, page: SocketAddr) -> Self {
        Self {
            instances,
            page,
            turn: AtomicUsize::new(0),
            clients: Mutex::default(),
        }
    }

    pub(super) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Returns the name of the instance to which a client's latest socket went, or `None` if the client is not known.
    ///
    /// The page shows it: which instance holds this browser's socket.
    pub(super) fn instance_of(&self, client: &str) -> Option<&str> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // From the newest backwards: a client that came back is somewhere else now.
        let (_, index) = clients.iter().rev().find(|(known, _)| known == client)?;
        Some(self.instances[*index].name())
    }

    /// Accepts connections for ever; each has a task of its own.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        // A place for each connection, so that a flood can't use up all files.
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    // Too many open files, most often: accepting at once again would only spin.
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                // Closed without an answer: whoever floods a demo is not worth one.
                continue;
            };
            let front = Arc::clone(&self);
            tokio::spawn(async move {
                // An error means that one side has broken off, and the other sees that by itself.
                _ = front.connection(stream).await;
                drop(seat);
            });
        }
    }

    /// Reads a request's head, chooses a server, and copies bytes both ways until one side ends.
    async fn connection(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        // A head that never ends must not hold a place.
        let head = match timeout(HEAD_TIME, Head::read(&mut client)).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return refuse(&mut client, MALFORMED).await;
            }
            // Broken off by the client: nobody is there to be answered.
            Ok(Err(error)) => return Err(error),
            // Too slow: closed without an answer, which some clients would not read either.
            Err(_late) => return Ok(()),
        };
        let server = match head.is_for_the_hub() {
            true => self.next(&head).await,
            // The page and what it asks of the demo have their own server.
            false => TcpStream::connect(self.page).await.ok(),
        };
        let Some(mut server) = server else {
            return refuse(&mut client, NOBODY).await;
        };
        server.set_nodelay(true)?;
        // The head as it goes on, together with whatever of the body came with it.
        server.write_all(&head.forwarded()).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    /// Connects to the next instance in turn that takes a connection. Returns `None` if none does.
    ///
    /// An instance that is stopped, or just ended, is passed over.
    async fn next(&self, head: &Head) -> Option<TcpStream> {
        for _ in 0..self.instances.len() {
            // `Relaxed`: nothing depends on the order; the sum may wrap, and then a turn is
            // repeated.
            let index = self.turn.fetch_add(1, Ordering::Relaxed) % self.instances.len();
            let Some(address) = self.instances[index].address() else {
                continue;
            };
            if let Ok(stream) = TcpStream::connect(address).await {
                if let Some(client) = head.client() {
                    self.note(client, index);
                }
                return Some(stream);
            }
        }
        None
    }

    /// Remembers which instance a client's socket went to, and forgets the oldest client if there are too many.
    /// The same client may stand there several times; the newest entry counts.
    fn note(&self, client: &str, index: usize) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() == CLIENTS {
            clients.pop_front();
        }
        clients.push_back((client.to_owned(), index));
    }
}

/// Answers with a status and no body, and lets the connection be closed.
async fn refuse(client: &mut TcpStream, answer: &str) -> io::Result<()> {
    let answer = format!("{answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(answer.as_bytes()).await
}

/// A request's head, and the bytes that came after it.
#[derive(Debug)]
pub(super) struct Head {
    method: String,
    target: String,
    /// 1 for HTTP/1.1.
    version: u8,
    headers: Vec<(String, Vec<u8>)>,
    /// What came after the head: a part of the body, which goes on unchanged.
    rest: Vec<u8>,
}

impl Head {
    async fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            // The empty head is asked first too; it is simply not complete.
            if let Some(head) = Self::parse(&bytes)? {
                return Ok(head);
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Returns `None` if a part of the head is still to come.
    ///
    /// # Errors
    ///
    /// `InvalidData` if this is no HTTP, or the head is longer than [`HEAD_BYTES`].
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut request = Request::new(&mut headers);
        let end = match request.parse(bytes) {
            Ok(Status::Complete(end)) => end,
            Ok(Status::Partial) if bytes.len() < HEAD_BYTES => return Ok(None),
            Ok(Status::Partial) | Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let headers = request.headers.iter();
        Ok(Some(Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            version: request.version.unwrap_or(1),
            headers: headers
                .map(|it| (it.name.to_owned(), it.value.to_vec()))
                .collect(),
            rest: bytes[end..].to_vec(),
        }))
    }

    /// Path and query of the request's target.
    fn path_and_query(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }

    /// Returns whether an instance answers this: sockets, jobs and the hub's own interface. The page, and what it asks of the
    /// demo itself, are answered by the demo.
    pub(super) fn is_for_the_hub(&self) -> bool {
        let (path, _) = self.path_and_query();
        // Only POST: `GET /jobs` would be a page's path.
        path == "/ws" || path.starts_with("/v1/") || (&*self.method, path) == ("POST", "/jobs")
    }

    /// Returns the name that the page gave itself in the query, or `None` if it has none or the name is not valid.
    pub(super) fn client(&self) -> Option<&str> {
        let (_, query) = self.path_and_query();
        let client = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("client="))?;
        // Only signs that need no escape anywhere, since the name is shown on the page.
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (client.len() <= CLIENT_BYTES && client.bytes().all(good)).then_some(client)
    }

    /// Returns the bytes for the server. Unless the connection becomes a WebSocket, they ask the server to close it after the
    /// answer, so that the next request is balanced anew.
    pub(super) fn forwarded(&self) -> Vec<u8> {
        let is = |(name, _): &(String, Vec<u8>), wanted: &str| name.eq_ignore_ascii_case(wanted);
        let upgrade = self.headers.iter().any(|it| is(it, "upgrade"));
        let first = format!(
            "{} {} HTTP/1.{}\r\n",
            self.method, self.target, self.version
        );
        let mut bytes = first.into_bytes();
        let kept = self.headers.iter();
        // Of several requests on one connection only the first could be balanced, so it is closed
        // after one. An upgrade needs its own `Connection` header (RFC 9110, section 7.8).
        for (name, value) in kept.filter(|it| upgrade || !is(it, "connection")) {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if !upgrade {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.rest);
        bytes
    }
}
