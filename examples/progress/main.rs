//! A service whose operations are watched in the browser; README.md beside this file says how to try it.
//!
//! Any number of instances may run. None of them holds a WebSocket: the page's socket is at a hub, and whichever
//! instance works publishes its progress there. Copy `publish` and `page.html` into a service of your own.

#![expect(clippy::print_stdout, reason = "a program that says where it listens")]

use std::{env, error::Error, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use warp::{Filter, http::StatusCode};

type Failure = Box<dyn Error + Send + Sync>;

const STEPS: u32 = 10;
const STEP: Duration = Duration::from_millis(400);
/// How often a message is tried, the pause, and how long an answer is waited for.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next();
    let listen: SocketAddr = listen.as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let hub = arguments.next();
    let hub = hub.unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());

    let page = include_str!("page.html").replace("HUB-ADDRESS", &hub);
    let page = warp::path::end().map(move || warp::reply::html(page.clone()));
    let hub: Arc<Uri> = Arc::new(hub.parse()?);
    let name = format!("service:{}", listen.port());
    // The page chooses the name, so that it can listen before the job begins.
    let jobs = warp::path!("jobs" / String)
        .and(warp::post())
        .map(move |job: String| {
            let good = |byte: u8| byte.is_ascii_alphanumeric();
            if job.len() > 32 || !job.bytes().all(good) {
                return StatusCode::BAD_REQUEST;
            }
            tokio::spawn(work(Arc::clone(&hub), name.clone(), job));
            StatusCode::ACCEPTED
        });

    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    warp::serve(page.or(jobs)).incoming(listener).run().await;
    Ok(())
}

/// The operation.
async fn work(hub: Arc<Uri>, worker: String, job: String) {
    for step in 1..=STEPS {
        sleep(STEP).await;
        let data = json!({ "step": step, "of": STEPS, "worker": worker });
        // The id tells the hub's clients a message from its repetition.
        let message = json!({ "channel": format!("jobs.{job}"), "data": data, "id": format!("{job}-{step}") });
        for _ in 0..TRIES {
            match publish(&hub, &message).await {
                Ok(()) => break,
                Err(failure) => println!("job {job}, step {step}: {failure}"),
            }
            sleep(PAUSE).await;
        }
    }
}

/// `POST /v1/publish`, answered once the broker has the message. Any HTTP client does; this is hyper's, on a new
/// connection each time. Where the hub needs a key, add `Authorization: Bearer …`.
async fn publish(hub: &Uri, message: &Value) -> Result<(), Failure> {
    let authority = hub
        .authority()
        .ok_or("the hub's address is http://host:port")?;
    let exchange = async {
        let stream = TcpStream::connect(authority.as_str()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::post("/v1/publish")
            .header(header::HOST, authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::from(message.to_string()))?;
        Ok::<_, Failure>(sender.send_request(request).await?.status())
    };
    let status = timeout(PATIENCE, exchange).await??;
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("the hub answered {status}").into()),
    }
}
