//! A backend from outside: the hubs of one machine talk through a file. `file.rs` is the backend; this starts a hub on it.
//!
//! `cargo run --example custom_backend [-- file:///tmp/hubplane.log 127.0.0.1:8081]`, a second one with another port, then
//!
//! ```text
//! hubplane sub news --url http://127.0.0.1:8081
//! hubplane pub news '"hello"' --url http://127.0.0.1:8082
//! echo "news $(printf '"from a shell"' | base64 -w0)" >> /tmp/hubplane.log
//! ```

#![expect(clippy::print_stdout, reason = "a program that says where it listens")]

mod file;

use std::{env, error::Error, sync::Arc};

use hubplane::{
    auth::Access,
    hub::{Hub, Limits, Setup},
    server::{Server, Shards},
};
use hubplane_backplane::{Address, Driver};
use tokio::{net::TcpListener, signal::ctrl_c};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next();
    let address: Address = address
        .as_deref()
        .unwrap_or("file:///tmp/hubplane.log")
        .parse()?;
    let listen = arguments.next();
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:8081")).await?;

    // `hubplane serve` does the same with the backends that it knows.
    let opened = file::DRIVER.open(&address).await?;
    let setup = Setup {
        node: listener.local_addr()?.to_string(),
        driver: &file::DRIVER,
        limits: Limits::default(),
        shards: 1,
    };
    let (hub, mailboxes) = Hub::start(opened, setup);
    let shards = Shards::start(&hub, mailboxes, &Arc::new(Access::default()))?;
    let server = Server::start(shards, listener)?;
    println!("listening on http://{}", server.address());
    ctrl_c().await?;
    server.stop(std::time::Duration::ZERO).await;
    Ok(())
}
