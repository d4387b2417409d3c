//! A server of keys, over HTTP or HTTPS, that misbehaves as a test wants.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::make::{path, read};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers 200 with this body.
    Body(Vec<u8>),
    /// Answers with this status line, further headers and no body.
    Status(String),
    /// Promises more than it sends.
    Truncated,
    /// Never answers.
    Never,
}

impl Answer {
    pub(crate) fn keys(keys: &[&str]) -> Self {
        Self::Body(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into())
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answer: Answer, tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls { "https" } else { "http" };
        let (requests, answer) = (Arc::default(), Arc::new(Mutex::new(answer)));
        let mut task = JoinSet::new();
        task.spawn(serve(
            listener,
            tls.then(acceptor),
            Arc::clone(&requests),
            Arc::clone(&answer),
        ));
        Self {
            url: format!("{scheme}://localhost:{port}/keys?tenant=a")
                .replace("localhost", if tls { "localhost" } else { "127.0.0.1" }),
            requests,
            answer,
            _task: task,
        }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(path("localhost.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read("p384.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    requests: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
) {
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, requests, answer) = (tls.clone(), Arc::clone(&requests), Arc::clone(&answer));
        open.spawn(async move {
            match tls {
                None => talk(stream, &requests, &answer).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, &requests, &answer).await;
                    }
                }
            }
        });
    }
}

/// Answers one request.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: &AtomicUsize,
    answer: &Mutex<Answer>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        request.push(byte);
    }
    assert!(request.starts_with(b"GET /keys?tenant=a HTTP/1.1\r\n"));
    requests.fetch_add(1, Ordering::SeqCst);
    let answer = answer.lock().unwrap().clone();
    let bytes = match answer {
        Answer::Body(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        Answer::Status(line) => format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into(),
        Answer::Truncated => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec(),
        Answer::Never => return std::future::pending().await,
    };
    // A client that has seen enough is gone.
    _ = stream.write_all(&bytes).await;
    _ = stream.shutdown().await;
}
