//! Records without a socket: what comes in pieces, and what an idle connection keeps.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use rustls::ClientConnection;

use super::{
    super::records::Records,
    authority::{Authority, GOOD},
    client::config,
};

/// Both ends of a connection.
struct Pair {
    client: ClientConnection,
    server: Records,
    /// What the server has read.
    got: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let authority = Authority::new();
        authority.write(GOOD);
        let served = authority.load().unwrap().config();
        let config = config(&authority, rustls::ALL_VERSIONS);
        let name = "localhost".try_into().unwrap();
        Self {
            client: ClientConnection::new(Arc::new(config), name).unwrap(),
            server: Records::new(served).unwrap(),
            got: Vec::new(),
        }
    }

    /// Takes what the client has to say to the server, in pieces of so many bytes, and the answer
    /// back.
    fn exchange(&mut self, piece: usize) -> io::Result<()> {
        let mut said = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut said).unwrap();
        }
        let outcome = said.chunks(piece).try_for_each(|bytes| self.hear(bytes));
        let mut answer = Vec::new();
        self.server
            .send(|bytes| answer.write(bytes))
            .expect("memory takes everything");
        self.say(&answer)?;
        outcome
    }

    /// Gives the server's bytes to the client.
    fn say(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets();
            state.map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 100];
        let mut left = Some(bytes);
        loop {
            let read = self.server.read(&mut buffer, |room| match left.take() {
                None => Err(io::ErrorKind::WouldBlock.into()),
                Some(bytes) => {
                    room[..bytes.len()].copy_from_slice(bytes);
                    Ok(bytes.len())
                }
            });
            match read {
                Ok(0) => return Ok(()),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// After the handshake.
    fn connected(piece: usize) -> Self {
        let mut pair = Self::new();
        while pair.server.is_handshaking() || pair.client.is_handshaking() {
            pair.exchange(piece).unwrap();
        }
        pair.exchange(piece).unwrap();
        pair
    }
}

#[test]
fn what_comes_in_pieces_is_put_together() {
    for piece in [1, 7, 16 * 1024] {
        let mut pair = Pair::connected(piece);
        let content: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
        pair.client.writer().write_all(&content).unwrap();
        pair.exchange(piece).unwrap();
        assert!(pair.got == content, "in pieces of {piece}");
        assert!(pair.server.is_idle(), "an idle connection keeps no bytes");
        let slices = [b"a".as_slice(), b"", b"bc", &[b'd'; 50_000]].map(io::IoSlice::new);
        let mut records = Vec::new();
        let taken = pair.server.write(&slices, |bytes| records.write(bytes));
        assert_eq!(taken.unwrap(), 32 * 1024, "two full records");
        pair.say(&records[..20_000]).unwrap();
        let mut start = [0; 4];
        pair.client.reader().read_exact(&mut start).unwrap();
        assert_eq!(&start, b"abcd");
    }
}

#[test]
fn what_the_socket_does_not_take_waits() {
    let mut pair = Pair::connected(1_000);
    let taken = pair.server.write(&[io::IoSlice::new(b"hello")], |_| {
        Err(io::ErrorKind::WouldBlock.into())
    });
    assert_eq!(taken.unwrap(), 5);
    assert!(!pair.server.is_idle());
    let full = pair.server.send(|_| Err(io::ErrorKind::WouldBlock.into()));
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    pair.exchange(1_000).unwrap();
    let mut got = [0; 5];
    pair.client.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    assert!(pair.server.is_idle());
}

/// A session's task tries as long as something waits.
#[test]
fn a_broken_socket_leaves_nothing_to_send() {
    let mut pair = Pair::connected(1_000);
    let full = |_: &[u8]| Err(io::ErrorKind::WouldBlock.into());
    let slices = [io::IoSlice::new(b"hello")];
    assert_eq!(pair.server.write(&slices, full).unwrap(), 5);
    let broken = |_: &[u8]| Err(io::ErrorKind::ConnectionReset.into());
    let error = pair.server.send(broken).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(pair.server.is_idle() && pair.server.is_ready());
    assert!(pair.server.write(&slices, |bytes| Ok(bytes.len())).is_err());
    assert!(pair.hear(b"x").is_err(), "whoever reads learns it");
}

#[test]
fn new_keys_are_taken_and_given() {
    let mut pair = Pair::connected(1_000);
    pair.client.refresh_traffic_keys().unwrap();
    pair.client.writer().write_all(b"hello").unwrap();
    pair.exchange(1_000).unwrap();
    assert_eq!(pair.got, b"hello");
    let mut records = Vec::new();
    let taken = pair
        .server
        .write(&[io::IoSlice::new(b"world")], |bytes| records.write(bytes));
    assert_eq!(taken.unwrap(), 5);
    pair.say(&records).unwrap();
    let mut got = [0; 5];
    pair.client.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"world");
}

/// Each record of one byte has 22 bytes of its own: 5 of its header, 1 for its kind, 16 of its tag.
#[test]
fn bytes_that_are_no_content_are_counted() {
    let mut pair = Pair::connected(1_000);
    pair.server.take_overhead();
    for _ in 0..10 {
        pair.client.writer().write_all(b"x").unwrap();
    }
    pair.exchange(1_000).unwrap();
    assert_eq!(pair.got.len(), 10);
    assert_eq!(pair.server.take_overhead(), 220);
    assert_eq!(pair.server.take_overhead(), 0);
}

#[test]
fn the_end_is_told_and_heard() {
    let mut pair = Pair::connected(1_000);
    pair.client.writer().write_all(b"bye").unwrap();
    pair.client.send_close_notify();
    pair.exchange(1_000).unwrap();
    assert_eq!(pair.got, b"bye");
    let mut buffer = [0; 1];
    let end = pair
        .server
        .read(&mut buffer, |_| unreachable!("it is over"));
    assert_eq!(end.unwrap(), 0);
    pair.server.close();
    pair.exchange(1_000).unwrap();
    let end = pair.client.reader().read(&mut buffer);
    assert_eq!(end.unwrap(), 0, "not cut off");
}

#[test]
fn nonsense_is_answered_with_an_alert() {
    let mut pair = Pair::connected(1_000);
    let record = [23, 3, 3, 0, 40]
        .into_iter()
        .chain([0; 40])
        .collect::<Vec<_>>();
    let error = pair.hear(&record).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(!pair.server.is_idle(), "an alert waits");
    let error = pair.exchange(1_000).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    // Nothing can be said after it.
    let after = pair
        .server
        .write(&[io::IoSlice::new(b"x")], |bytes| Ok(bytes.len()));
    assert!(after.is_err());
    pair.server.close();
}
