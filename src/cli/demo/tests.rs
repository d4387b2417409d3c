//! The demo as a browser sees it: one port, three instances, a socket that moves. Real sockets, no
//! mocks.
use std::collections::HashSet;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use super::{front::Head, *};

/// A demo on a free port, with the given backplane.
fn demo(backplane: &str) -> Demo {
    Demo {
        listen: "127.0.0.1:0".to_owned(),
        backplane: backplane.to_owned(),
        instances: 3,
        insecure: false,
        log: String::new(),
    }
}

/// Returns the answer's body; the front ends the connection with it.
async fn request(at: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: {at}\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // Ends with the connection: the front closes it after one answer.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    body.to_owned()
}

/// Returns the answer's body as JSON.
async fn ask(at: SocketAddr, head: &str, body: &str) -> Value {
    serde_json::from_str(&request(at, head, body).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_anywhere_and_are_watched_on_one_socket_that_moves() {
    let running = Running::start(&demo("memory:")).await.unwrap();
    let at = running.address;
    // The page itself, from the server behind the front port.
    assert!(request(at, "GET /", "").await.contains("<title>"));

    let url = format!("ws://{at}/ws?client=one&channel=jobs.a&channel=jobs.b&channel=jobs.c");
    let (mut socket, _) = connect_async(&url).await.unwrap();
    let place = ask(at, "GET /demo/where?client=one", "").await;
    let holder = place["instance"].as_str().unwrap().to_owned();
    // Three confirmations before anything is published.
    for _ in 0..3 {
        let subscribed = socket.next().await.unwrap().unwrap();
        assert!(subscribed.to_text().unwrap().contains("subscribed"));
    }
    let mut workers = HashSet::new();
    for job in ["a", "b", "c"] {
        let begun = ask(at, "POST /jobs", &json!({ "job": job }).to_string()).await;
        workers.insert(begun["worker"].as_str().unwrap().to_owned());
    }
    // Three jobs in a row meet three instances.
    assert_eq!(workers.len(), 3, "the balancer takes turns: {workers:?}");

    // All jobs are heard of on one socket, wherever they ran.
    let mut done = HashSet::new();
    while done.len() < 3 {
        let message = socket.next().await.unwrap().unwrap();
        let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        if message["data"]["state"] == "done" {
            assert_eq!(message["data"]["step"], message["data"]["of"]);
            done.insert(message["data"]["worker"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(done, workers);
    // The book has the last state, whichever instance worked.
    assert_eq!(ask(at, "GET /demo/jobs/a", "").await["state"], "done");

    // The instance that holds the socket is stopped; the socket must be told to connect again.
    request(at, &format!("POST /demo/instances/{holder}/stop"), "").await;
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
        panic!("the socket was not closed");
    };
    assert_eq!(frame.code, CloseCode::Restart);
    socket.close(None).await.ok();
    // New sockets never come to the stopped instance, and work.
    for client in ["two", "three", "four"] {
        let (mut socket, _) = connect_async(format!("ws://{at}/ws?client={client}"))
            .await
            .unwrap();
        let place = ask(at, &format!("GET /demo/where?client={client}"), "").await;
        assert_ne!(place["instance"], *holder);
        socket
            .send(Message::text("{\"type\":\"ping\"}"))
            .await
            .unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_text());
    }
    running.stop().await;
}

#[test]
fn the_front_reads_a_request() {
    let head = |text: &str| Head::parse(text.as_bytes()).unwrap().unwrap();
    // An upgrade keeps its `Connection` header; everything else loses it.
    let socket = head(
        "GET /ws?channel=a&client=x-1 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
    assert!(socket.is_for_the_hub());
    assert_eq!(socket.client(), Some("x-1"));
    assert!(socket.forwarded().ends_with(b"Connection: Upgrade\r\n\r\n"));

    let job = head("POST /jobs HTTP/1.1\r\nconnection: keep-alive\r\nHost: a\r\n\r\nbody");
    assert!(job.is_for_the_hub());
    assert_eq!(
        job.forwarded(),
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nbody"
    );
    // What is not the hub's goes to the page's server.
    for other in [
        "GET / ",
        "GET /jobs ",
        "GET /wsx ",
        "POST /demo/instances/a/stop ",
    ] {
        assert!(
            !head(&format!("{other}HTTP/1.1\r\n\r\n")).is_for_the_hub(),
            "{other}"
        );
    }
    // The page shows the name, so nothing of HTML may be in it.
    assert!(
        head("GET /ws?client=<script> HTTP/1.1\r\n\r\n")
            .client()
            .is_none()
    );
    // Not complete yet, and too long.
    assert!(Head::parse(b"GET / HTTP/1.1\r\n").unwrap().is_none());
    assert!(Head::parse(&[b'x'; 16 * 1024]).is_err());
    // A server behind this one could take it for two headers, or for another body (request smuggling).
    for malformed in ["Host : a", "Host: a\r\n folded", "Host\u{e9}: a"] {
        let text = format!("GET / HTTP/1.1\r\n{malformed}\r\n\r\n");
        assert!(Head::parse(text.as_bytes()).is_err(), "{malformed}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    assert_eq!(announcement(address, false), "demo on http://127.0.0.1:80");
    // Settings of the address are kept when it gets the shared name.
    assert_eq!(
        demo("memory:?max-messages=9")
            .address()
            .unwrap()
            .to_string(),
        "memory://demo?max-messages=9"
    );
}
