//! An instance that is told to stop lets its clients go one after another.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{Client, Raw, http},
    hub::{Hub, Running, hubplane},
};

/// Enough that a share of them means something.
const CLIENTS: usize = 300;
/// As [`draining`] has it.
const DRAIN: Duration = Duration::from_secs(5);

/// Sends SIGTERM, as an orchestrator does.
fn terminate(hub: &Hub) {
    send(hub.pid(), "-TERM");
}

fn send(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn draining() -> Hub {
    Hub::start(&["--backplane", "memory:", "--drain", "5s"])
}

/// One request on a connection that stays open.
async fn ask(stream: &mut tokio::net::TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = vec![0; 4_096];
    let count = stream.read(&mut got).await.unwrap();
    String::from_utf8_lossy(&got[..count]).into_owned()
}

#[tokio::test]
async fn clients_are_let_go_evenly_and_requests_are_answered() {
    let mut hub = draining();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        // Hand-made sockets, as 300 clients of a library would be slow.
        clients.push(Raw::connect(hub.address, "?channel=c").await);
    }
    // A connection from before the end must still be served.
    let mut kept = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    let ready = "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(ask(&mut kept, ready).await.starts_with("HTTP/1.1 200"));
    let start = Instant::now();
    terminate(&hub);
    let closes = clients.into_iter().map(|mut client| {
        // All wait at once, so that the times are true.
        tokio::spawn(async move { (client.close_code().await, start.elapsed()) })
    });
    let closes: Vec<_> = closes.collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The balancer learns from this that it must not send anybody.
    assert!(ask(&mut kept, ready).await.starts_with("HTTP/1.1 503"));
    let body = r#"{"channel":"c","data":1}"#;
    let publish = format!(
        "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // Requests on open connections are still carried out.
    assert!(ask(&mut kept, &publish).await.starts_with("HTTP/1.1 200"));
    let refused = tokio::net::TcpStream::connect(hub.address).await;
    assert!(refused.is_err(), "nothing more is accepted");
    let mut times = Vec::new();
    for close in join_all(closes).await {
        let (code, at) = close.unwrap();
        assert_eq!(code, 1012);
        times.push(at);
    }
    times.sort();
    // The fullest half second, wherever it begins.
    let half = Duration::from_millis(500);
    let within = |from: &Duration| {
        times
            .iter()
            .filter(|at| *at >= from && **at < *from + half)
            .count()
    };
    let most = times.iter().map(within).max().unwrap();
    let share = most * 100 / CLIENTS;
    println!(
        "at most {share} % of {CLIENTS} closes in 500 ms, of {DRAIN:?}; the last after {:?}",
        times[CLIENTS - 1]
    );
    // Evenly would be 10 %.
    assert!(share <= 20, "{share} %");
    assert!(times[CLIENTS - 1] > DRAIN / 2);
    assert_eq!(hub.ended(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    // One client, for whose end the drain would wait 5 s.
    let mut hub = draining();
    let _client = Client::connect(hub.address, "?channel=c", &[]).await;
    terminate(&hub);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    terminate(&hub);
    // 1, as not all clients were told.
    assert_eq!(hub.ended(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn without_clients_nothing_is_waited_for() {
    let mut hub = draining();
    let start = Instant::now();
    terminate(&hub);
    assert_eq!(hub.ended(), Some(0));
    assert!(start.elapsed() < DRAIN / 2);
}

#[tokio::test]
async fn a_balancer_that_takes_notice_late_finds_an_open_door() {
    let mut hub = Hub::start(&["--backplane", "memory:", "--drain-delay", "2s"]);
    let mut client = Client::connect(hub.address, "?channel=c", &[]).await;
    assert_eq!(client.json().await["type"], "subscribed");
    // `/ready` says no at once; the door stays open for 2 s.
    let start = Instant::now();
    terminate(&hub);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(http(hub.address, "GET /ready", "").await.0, 503);
    let mut late = Client::connect(hub.address, "?channel=c", &[]).await;
    assert_eq!(late.json().await["type"], "subscribed");
    assert_eq!(client.close_code().await, 1012);
    // Not before the delay is over.
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(late.close_code().await, 1012);
    assert_eq!(hub.ended(), Some(0));
}

#[tokio::test]
async fn a_hangup_ends_nothing() {
    // A closed terminal sends SIGHUP.
    let hub = draining();
    let mut client = Client::connect(hub.address, "", &[]).await;
    send(hub.pid(), "-HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.ask(r#"{"type":"ping"}"#).await["type"], "pong");
}

#[tokio::test]
async fn a_hub_that_waits_for_its_broker_hears_the_signal() {
    // Nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", free.local_addr().unwrap());
    drop(free);
    let mut command = hubplane();
    command.args(["serve", "--listen", "127.0.0.1:0", "--wait", "60s"]);
    command.args(["--backplane", &address]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut waiting = Running::new(&mut command);
    // Time to be in the middle of its attempts.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(waiting.child().try_wait().unwrap().is_none(), "it waits");
    let start = Instant::now();
    send(waiting.child().id(), "-TERM");
    let status = waiting.child().wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(2));
}
