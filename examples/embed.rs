//! The hub inside an existing warp application: one process, one port, the application's own routes beside the hub's.
//!
//! `cargo run --example embed [-- ADDRESS [BACKPLANE]]`, then in two other terminals
//!
//! ```text
//! hubplane sub news --url http://127.0.0.1:3000
//! curl -X POST http://127.0.0.1:3000/greet/Ada
//! ```

#![expect(clippy::print_stdout, reason = "a program that says where it listens")]

use std::{env, error::Error, time::Duration};

use hubplane::{EmbeddedHub, HubBuilder};
use tokio::{net::TcpListener, signal::ctrl_c};
use warp::{Filter, http::StatusCode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:3000".into());
    let backplane = arguments.next().unwrap_or("memory:".into());

    let hub = HubBuilder::new(backplane).node(&address).start().await?;

    // The application as it was before …
    let publisher = hub.clone();
    let greet = warp::path!("greet" / String)
        .and(warp::post())
        .then(move |name: String| greet(publisher.clone(), name));
    // … and the hub's routes beside it: /ws, /v1/…, /live, /ready, /metrics.
    let routes = greet.or(hub.routes());

    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = warp::serve(routes).incoming(listener);
    server.graceful(async { _ = ctrl_c().await }).run().await;
    hub.shutdown(Duration::ZERO).await;
    Ok(())
}

/// The application's own work. It publishes like any client, and the message comes back to this hub and to all others.
async fn greet(hub: EmbeddedHub, name: String) -> StatusCode {
    let news = serde_json::json!({ "greeted": name }).to_string();
    match hub.publish("news", news).await {
        Ok(_) => StatusCode::NO_CONTENT,
        // The broker is away or too much is waiting for it.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
