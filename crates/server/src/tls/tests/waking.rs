//! A write that the socket takes in part, from other code than the task of its session.

use std::{future::poll_fn, rc::Rc};

use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    task::{LocalSet, spawn_local, yield_now},
    time::timeout,
};

use super::{
    authority::{Authority, GOOD},
    client::{PATIENCE, config, connect},
};
use crate::stream::Stream;

/// The session takes such a write for done, so nobody else wakes its task.
#[tokio::test]
async fn the_rest_of_a_write_goes_out_without_another_one() {
    let test = async {
        let authority = Authority::new();
        authority.write(GOOD);
        let tls = authority.load().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async { tls.handshake(listener.accept().await.unwrap().0).await };
        let config = config(&authority, rustls::ALL_VERSIONS);
        let (secured, client) = tokio::join!(accept, connect(address, config));
        let (stream, mut client) = (Rc::new(secured.unwrap().unwrap()), client.unwrap());
        let reading = Rc::clone(&stream);
        spawn_local(poll_fn(move |cx| {
            while reading.has_unsent() && reading.poll_write_ready(cx).is_ready() {}
            reading.poll_read_ready(cx)
        }));
        // It waits for the client now.
        yield_now().await;
        let mut sent = 0;
        while !stream.has_unsent() {
            sent += stream.write(&[b'x'; 30_000]).unwrap();
        }
        let mut got = vec![0; sent];
        let read = timeout(PATIENCE, client.read_exact(&mut got)).await;
        read.expect("all of it comes").unwrap();
        assert!(got.iter().all(|byte| *byte == b'x'));
    };
    LocalSet::new().run_until(test).await;
}
