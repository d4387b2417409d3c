//! A team's own backend decides who may connect, subscribe and publish.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    client::{Client, ask},
    hub::{Directory, Hub, directory, output},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A backend, which notes what it was asked.
#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Vec<Value>>>);

impl Backend {
    async fn start() -> (Self, SocketAddr) {
        let backend = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let own = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        (backend, address)
    }

    /// Answers questions until the hub closes the connection.
    async fn serve(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        loop {
            let head = loop {
                if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
                    break end + 4;
                }
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    return;
                }
            };
            let text = String::from_utf8(read[..head].to_vec())
                .unwrap()
                .to_lowercase();
            assert!(text.contains("hubplane-signature: t="), "{text}");
            let length = text.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            while read.len() < head + length {
                if stream.read_buf(&mut read).await.unwrap() == 0 {
                    return;
                }
            }
            let question: Value = serde_json::from_slice(&read[head..head + length]).unwrap();
            read.drain(..head + length);
            let answer = answer(&question).to_string();
            self.0.lock().unwrap().push(question);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn asked(&self, kind: &str) -> usize {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter(|question| question["type"] == kind)
            .count()
    }
}

/// Ann may connect; she may use the channels that end with her number.
fn answer(question: &Value) -> Value {
    if question["headers"]["cookie"] != "sid=of-ann" {
        return json!({"allow": false, "reason": "log in first"});
    }
    match question["type"].as_str().unwrap() {
        "connect" => json!({"allow": true, "user": "ann", "channels": ["news"]}),
        _ => {
            assert!(
                question["user"] == "ann" || question["user"].is_null(),
                "{question}"
            );
            json!({"allow": question["channel"].as_str().unwrap().ends_with('7')})
        }
    }
}

fn config(address: SocketAddr, more: &str) -> (Directory, String) {
    let place = directory("endpoint");
    let secret = place.join("secret");
    fs::write(&secret, SECRET).unwrap();
    let config = format!(
        "{more}\n[endpoint]\nconnect = \"http://{address}/c\"\nsubscribe = \"http://{address}/s\"\n\
         publish = \"http://{address}/p\"\nsecret = \"file:{}\"\nheaders = [\"cookie\"]\nallow_private = true\n\
         [[channel]]\nmatch = \"orders.*\"\nendpoint = true\n\
         [[channel]]\nmatch = \"news\"\nallow = {{ token = [\"subscribe\"] }}\n",
        secret.display()
    );
    (place, config)
}

#[tokio::test]
async fn a_cookie_opens_what_the_backend_says() {
    let (backend, address) = Backend::start().await;
    let (_place, config) = config(address, "origins = [\"https://app.example\"]");
    let hub = Hub::configured(&config);
    let cookie = ("cookie", "sid=of-ann");
    // A foreign page is refused before anybody is asked: the browser sends its user's cookie along.
    let foreign = [cookie, ("origin", "https://evil.example")];
    assert!(Client::attempt(hub.address, "", &foreign).await.is_err());
    assert_eq!(backend.asked("connect"), 0);
    assert!(
        Client::attempt(hub.address, "", &[("cookie", "sid=x")])
            .await
            .is_err()
    );

    let own = [cookie, ("origin", "https://app.example")];
    let mut ann = Client::connect(hub.address, "", &own).await;
    assert_eq!(ann.json().await["channel"], "news", "joined at once");
    // In their order, though one is asked about and the other is not.
    for channel in ["orders.7", "news", "orders.8"] {
        ann.send(&json!({"type":"subscribe","ref":channel,"channel":channel}).to_string())
            .await;
    }
    for (reference, kind) in [
        ("orders.7", "subscribed"),
        ("news", "subscribed"),
        ("orders.8", "error"),
    ] {
        let answer = ann.json().await;
        assert_eq!(
            (&answer["ref"], &answer["type"]),
            (&json!(reference), &json!(kind))
        );
    }
    for (channel, kind) in [
        ("orders.7", "published"),
        ("orders.8", "error"),
        ("news", "error"),
    ] {
        ann.send(&json!({"type":"publish","ref":channel,"channel":channel,"data":1}).to_string())
            .await;
        let answer = loop {
            let answer = ann.json().await;
            if answer["type"] != "message" {
                break answer;
            }
        };
        assert_eq!(
            (&answer["ref"], &answer["type"]),
            (&json!(channel), &json!(kind))
        );
    }
    let cookie = "cookie: sid=of-ann\r\n";
    for (channel, status) in [("orders.17", 200), ("orders.8", 403)] {
        let body = json!({"channel":channel,"data":1}).to_string();
        let answer = ask(hub.address, "POST /v1/publish", cookie, &body).await;
        assert_eq!(answer.0, status, "{answer:?}");
    }
    assert!(!hub.log().contains("of-ann"), "{}", hub.log());
}

#[tokio::test]
async fn without_the_backend_nobody_gets_in_and_is_told_when_to_try_again() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (_place, config) = config(address, "");
    let hub = Hub::configured(&config);
    let refused = Client::attempt(hub.address, "", &[("cookie", "sid=of-ann")]).await;
    let text = refused.map(drop).unwrap_err().to_string();
    assert!(text.contains("503"), "{text}");
}

#[test]
fn cookies_and_pages_of_every_origin_do_not_go_together() {
    let (place, config) = config("127.0.0.1:1".parse().unwrap(), "origins = [\"*\"]");
    let file = place.join("hub.toml");
    fs::write(&file, config).unwrap();
    let done = output(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        file.to_str().unwrap(),
    ]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("name the origins"), "{said}");
}
