//! Two hubs on one backplane, and a WebSocket client of our own that sees each frame.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use hubplane_backplane::Driver;
use hubplane_hub::{Authority, Grant, Hub, Limits, Setup, Shard, Unproven};
use hubplane_memory::DRIVER;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task,
    time::timeout,
};

use super::{super::serve, super::session::Negotiated, format::TOY};

/// A message of the server's, or the code that it closes with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Text(String),
    Closed(u16),
}

/// Knows `open sesame` for ever, and `a moment` for a second.
#[derive(Debug)]
struct Door;

impl Authority for Door {
    fn grant(&self, proof: &str) -> Result<Grant, Unproven> {
        let soon = std::time::Instant::now() + Duration::from_secs(1);
        match proof {
            "open-sesame" => Ok(Grant::key()),
            "a-moment" => Ok(Grant::key().until(soon)),
            _ => Err(Unproven("these are not the words".into())),
        }
    }
}

/// One hub, with one shard on this thread.
pub(super) async fn hub(name: &str, limits: Limits) -> Rc<Shard> {
    let address = format!("memory://{name}").parse().unwrap();
    let opened = DRIVER.open(&address).await.unwrap();
    let setup = Setup {
        node: name.to_owned(),
        driver: &DRIVER,
        limits,
        shards: 1,
    };
    let (hub, mut mailboxes) = Hub::start(opened, setup).unwrap();
    assert!(hub.heard(Duration::from_secs(10)).await);
    let mailbox = mailboxes.remove(0);
    let shard = Shard::with_authority(hub, &mailbox, Arc::new(Door));
    task::spawn_local(Rc::clone(&shard).run(mailbox));
    shard
}

/// A client of a hub, over a socket.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) async fn connect(shard: &Rc<Shard>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let negotiated = Negotiated {
            with_key: false,
            encoding: &TOY,
            grant: Grant::anonymous(),
            channels: Vec::new(),
            peer: None,
        };
        let buffer = Rc::new(RefCell::new(vec![0; 64 * 1024]));
        let (shard, stream) = (Rc::clone(shard), accepted.unwrap().0);
        task::spawn_local(serve(shard, buffer, stream, Bytes::new(), negotiated));
        Self(client.unwrap())
    }

    /// Sends one binary message, masked with zeros.
    pub(super) async fn say(&mut self, text: &str) {
        self.send(0x82, text).await;
    }

    pub(super) async fn send(&mut self, opcode: u8, text: &str) {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        let mut frame = vec![opcode, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame of the server's, within two seconds.
    ///
    /// A warning that the grant is soon over may come at any time, so it is passed over.
    pub(super) async fn hear(&mut self) -> Got {
        let (opcode, payload) = loop {
            let frame = timeout(Duration::from_secs(2), self.frame());
            let (opcode, payload) = frame.await.expect("the server says something");
            if !payload.starts_with(b"EXPIRING ") {
                break (opcode, payload);
            }
        };
        match opcode {
            0x82 => Got::Text(String::from_utf8(payload).unwrap()),
            0x88 => Got::Closed(u16::from_be_bytes([payload[0], payload[1]])),
            other => panic!("an opcode {other:x} is of no use to this format"),
        }
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let opcode = self.0.read_u8().await.unwrap();
        let length = match self.0.read_u8().await.unwrap() {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        (opcode, payload)
    }

    /// The next message is this one.
    pub(super) async fn hears(&mut self, text: &str) {
        assert_eq!(self.hear().await, Got::Text(text.to_owned()));
    }

    /// The next message begins so; the rest of it.
    pub(super) async fn hears_of(&mut self, start: &str) -> String {
        let got = self.hear().await;
        let Got::Text(text) = &got else {
            panic!("{got:?}, not {start}");
        };
        let rest = text.strip_prefix(start);
        rest.unwrap_or_else(|| panic!("{text}, not {start}"))
            .to_owned()
    }

    /// Connects, and says hello under a name.
    pub(super) async fn named(shard: &Rc<Shard>, name: &str) -> Self {
        let mut client = Self::connect(shard).await;
        client.hears_of("YOU ARE ").await;
        client.say(&format!("HELLO {name}")).await;
        client.hears("HI").await;
        client
    }
}
