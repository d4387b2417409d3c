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

use std::{env, error::Error, time::Duration};

use hubplane::HubBuilder;
use tokio::{net::TcpListener, signal::ctrl_c};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let backplane = arguments
        .next()
        .unwrap_or("file:///tmp/hubplane.log".into());
    let listen = arguments.next().unwrap_or("127.0.0.1:8081".into());
    let listener = TcpListener::bind(&listen).await?;

    // `hubplane serve` does the same with the backends that it knows.
    let builder = HubBuilder::new(backplane).driver(&file::DRIVER);
    let server = builder.node(listen).start().await?.serve(listener)?;
    println!("listening on http://{}", server.address());
    ctrl_c().await?;
    server.stop(Duration::ZERO).await;
    Ok(())
}
