//! A hub that speaks TLS, and clients of it by rustls.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hubplane_backplane::Driver;
use hubplane_hub::{Hub, Limits, Setup};
use hubplane_memory::DRIVER;
use rustls::{ClientConfig, SupportedProtocolVersion, crypto::ring};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    super::Tls,
    authority::{Authority, GOOD},
};
use crate::{Mounts, Server, Shards};

/// Longer than anything takes here.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a hub on a backplane of its own. `shards` threads serve it.
pub(super) async fn serve(name: &str, tls: Tls, limits: Limits, shards: usize) -> Server {
    let address = format!("memory://tls-{name}").parse().unwrap();
    let opened = DRIVER.open(&address).await.unwrap();
    let setup = Setup {
        node: name.to_owned(),
        driver: &DRIVER,
        limits,
        shards,
    };
    let (hub, mailboxes) = Hub::start(opened, setup).unwrap();
    let shards = Shards::start(&hub, mailboxes, &Arc::default(), &Mounts::default()).unwrap();
    assert!(hub.heard(PATIENCE).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::start_tls(shards, listener, tls).unwrap()
}

/// A hub with a certificate that clients take, and its authority.
pub(super) async fn hub(name: &str, limits: Limits) -> (Server, Authority) {
    let authority = Authority::new();
    authority.write(GOOD);
    let tls = authority.load().unwrap();
    (serve(name, tls, limits, 2).await, authority)
}

/// How a client speaks TLS.
pub(super) fn config(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth()
}

/// Connects, and checks that the server is `localhost`.
pub(super) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    timeout(PATIENCE, connector.connect(name, stream)).await?
}

/// A client that trusts the authority.
pub(super) async fn trusting(server: &Server, authority: &Authority) -> TlsStream<TcpStream> {
    let config = config(authority, rustls::ALL_VERSIONS);
    connect(server.address(), config).await.unwrap()
}

/// Asks for a path, and returns the whole answer. It ends with `close_notify`, or this fails.
pub(super) async fn get(mut stream: TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
    read.await.expect("an answer in time").unwrap();
    answer
}

/// A WebSocket of the native protocol over TLS.
pub(super) struct Socket(pub(super) TlsStream<TcpStream>);

impl Socket {
    pub(super) async fn open(mut stream: TlsStream<TcpStream>, channel: &str) -> Self {
        let request = format!(
            "GET /ws?channel={channel} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
             connection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut socket = Self(stream);
        let (_, said) = socket.hear().await.unwrap();
        assert!(said.contains("subscribed"), "{said}");
        socket
    }

    /// Sends a text, masked with zeros.
    pub(super) async fn say(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap();
        let mut frame = vec![0x81, 0xfe];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The opcode and the payload of the next frame but pings.
    pub(super) async fn hear(&mut self) -> io::Result<(u8, String)> {
        let frame = timeout(PATIENCE, async {
            loop {
                let (opcode, payload) = self.frame().await?;
                if opcode != 9 {
                    return Ok((opcode, String::from_utf8_lossy(&payload).into_owned()));
                }
            }
        });
        frame.await.expect("the server says something")
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let opcode = self.0.read_u8().await? & 0x0f;
        let length = match self.0.read_u8().await? {
            126 => usize::from(self.0.read_u16().await?),
            127 => self.0.read_u64().await? as usize,
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        Ok((opcode, payload))
    }
}
