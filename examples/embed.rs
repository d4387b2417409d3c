//! The hub inside an existing warp application: one process, one port, the application's own routes beside the hub's.
//!
//! `cargo run --example embed [-- ADDRESS [BACKPLANE]]`, then in two other terminals
//!
//! ```text
//! hubplane sub news --url http://127.0.0.1:3000
//! curl -X POST http://127.0.0.1:3000/greet/Ada
//! ```

#![expect(clippy::print_stdout, reason = "a program that says where it listens")]

use std::{env, error::Error, net::SocketAddr, sync::Arc};

use hubplane::{
    auth::Access,
    backends,
    hub::{Hub, Limits, Setup},
    server::{self, Shards},
};
use hubplane_backplane::Outgoing;
use tokio::net::TcpListener;
use warp::{Filter, http::StatusCode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next();
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let backplane = arguments.next().unwrap_or_else(|| "memory:".to_owned());

    // The hub: its tasks run here, its sessions on threads of their own.
    let (driver, opened) = backends::open(&backplane).await?;
    let setup = Setup {
        node: format!("embed-{}", address.port()),
        driver,
        limits: Limits::default(),
        shards: 2,
    };
    let (hub, mailboxes) = Hub::start(opened, setup);
    // Without a key whoever reaches the port may publish; here that is this machine alone.
    let access = Arc::new(Access::default());
    let shards = Shards::start(&hub, mailboxes, &access)?;

    // The application as it was before …
    let publisher = Arc::clone(&hub);
    let greet = warp::path!("greet" / String)
        .and(warp::post())
        .then(move |name: String| greet(Arc::clone(&publisher), name));
    // … and the hub's routes beside it: /ws, /v1/…, /live, /ready, /metrics.
    let routes = greet.or(server::embedded(&shards, &access));

    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let interrupted = async {
        // Without signals nothing but a kill ends the program.
        _ = tokio::signal::ctrl_c().await;
    };
    warp::serve(routes)
        .incoming(listener)
        .graceful(interrupted)
        .run()
        .await;
    // Browsers are told to connect to another instance, then the broker is left.
    hub.end_sessions(std::time::Duration::ZERO).await;
    hub.close().await;
    Ok(())
}

/// The application's own work. It publishes like any client, and the message comes back to this hub and to all others.
async fn greet(hub: Arc<Hub>, name: String) -> StatusCode {
    let news = serde_json::json!({ "greeted": name }).to_string();
    match hub.publish(vec![Outgoing::new("news", news)]).await {
        Ok(answers) if answers.iter().all(Result::is_ok) => StatusCode::NO_CONTENT,
        // The broker is away or too much is waiting for it.
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
