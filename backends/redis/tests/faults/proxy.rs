//! A way to a server that can be held up in one direction: bytes wait and arrive later, as after a stalled network.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// Carries connections to one server for as long as the test's runtime lives.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    held: [watch::Sender<bool>; 2],
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    ToServer,
    FromServer,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = [(); 2].map(|()| watch::channel(false).0);
        let gates = held.each_ref().map(watch::Sender::subscribe);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                let [to, from] = gates.clone();
                let (client_reads, client_writes) = client.into_split();
                let (server_reads, server_writes) = server.into_split();
                tokio::spawn(carry(client_reads, server_writes, to));
                tokio::spawn(carry(server_reads, client_writes, from));
            }
        });
        Self { address, held }
    }

    pub(crate) fn hold(&self, direction: Direction, held: bool) {
        self.held[direction as usize].send_replace(held);
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        held.wait_for(|held| !held).await.ok()?;
        to.write_all(&buffer[..count]).await.ok()?;
    }
}
