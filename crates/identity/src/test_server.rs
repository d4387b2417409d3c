//! An HTTP/1.1 server for tests, on a real socket, that answers as a test says: with bytes of its
//! choice, so also with half an answer or none.
//!
//! It keeps what it received. It must not know what the client under test does.
#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers with a status and a body.
    Answer(u16, String),
    /// The same, after a while.
    After(Duration, u16, String),
    /// Sends these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Sends these bytes again and again until the client closes.
    Endless(&'static [u8], &'static [u8]),
    /// Keeps the connection open and says nothing.
    Silence,
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// Returns a header's value; each name must be in lower case, as the client sends it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

type Answering = dyn Fn(usize, &Received) -> Reply + Send + Sync;

struct Shared {
    answering: Box<Answering>,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A running server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server. `answering` gets the number of the request, from 0, and the request.
    pub(crate) async fn start(
        answering: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), None, answering).await
    }

    /// Starts a server at an address, with TLS if there is a certificate.
    pub(crate) async fn start_at(
        address: SocketAddr,
        tls: Option<&Certificate>,
        answering: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answering: Box::new(answering),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let tls = tls.map(Certificate::acceptor);
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns a URL where nobody listens.
    pub(crate) fn url_of_nobody(path: &str) -> String {
        let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        format!("http://{}{path}", closed.local_addr().unwrap())
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were in the server's hands at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match tls {
                None => serve(socket, &shared).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(socket) => serve(socket, &shared).await,
                    Err(_) => None,
                },
            }
        });
    }
}

/// Answers the requests of one connection. `None` when it has ended.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> Option<()> {
    loop {
        let request = read(&mut socket).await?;
        let number = {
            let mut received = shared.received.lock().unwrap();
            received.push(request.clone());
            received.len() - 1
        };
        let now = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(now, Ordering::SeqCst);
        let goes_on = answer(&mut socket, (shared.answering)(number, &request), shared).await;
        if !goes_on {
            socket.shutdown().await.ok()?;
            return None;
        }
    }
}

/// Returns true if the connection stays open.
async fn answer(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    reply: Reply,
    shared: &Shared,
) -> bool {
    let (bytes, goes_on) = match reply {
        Reply::Answer(status, body) => (response(status, &body), true),
        Reply::After(time, status, body) => {
            tokio::time::sleep(time).await;
            (response(status, &body), true)
        }
        Reply::Raw(bytes) => (bytes, false),
        Reply::Endless(start, again) => {
            let mut sent = socket.write_all(start).await;
            while sent.is_ok() {
                sent = socket.write_all(again).await;
            }
            (Vec::new(), false)
        }
        Reply::Silence => {
            // Ends when the client closes.
            _ = socket.read(&mut [0]).await;
            (Vec::new(), false)
        }
    };
    shared.at_once.fetch_sub(1, Ordering::SeqCst);
    socket.write_all(&bytes).await.is_ok() && goes_on
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let mut request = Received { head, body };
    let length = request
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    while request.body.len() < length {
        if socket.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}

/// A certificate that signs itself, so its file is the authority's too.
pub(crate) struct Certificate {
    certificate: rcgen::Certificate,
    key: KeyPair,
    pub(crate) file: PathBuf,
}

impl Drop for Certificate {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.file);
    }
}

impl Certificate {
    /// Makes a certificate for a host name.
    pub(crate) fn of(host: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("hubplane-test-{}-{number}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        let text = STANDARD.encode(certificate.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::write(&file, pem).unwrap();
        Self {
            certificate,
            key,
            file,
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key.into())
            .unwrap();
        Arc::new(config).into()
    }
}

/// Returns a look-up that gives these addresses, one list for each question and the last one again
/// and again, and the number of questions so far.
pub(crate) fn lookup_of(answers: &[&[&str]]) -> (crate::outbound::Lookup, Arc<AtomicUsize>) {
    let parse =
        |list: &&[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
    let answers: Vec<_> = answers.iter().map(parse).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup: crate::outbound::Lookup = Arc::new(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let answer = answers[number.min(answers.len() - 1)].clone();
        Box::pin(async move { Ok(answer) })
    });
    (lookup, asked)
}
