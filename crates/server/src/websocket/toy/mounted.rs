//! The format behind the server's own HTTP: found by its path, with routes of its own, and without a WebSocket.

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Driver, Outgoing};
use hubplane_hub::{Action, Hub, Limits, Setup};
use hubplane_identity::{Access, AccessConfig, Actions, Keys};
use hubplane_memory::DRIVER;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::timeout,
};

use super::format::MOUNT;
use crate::{Mounts, Server, Shards};

const KEY: &str = "a key that is at least as long as 32 bytes";

/// A server with the native protocol and the toy format.
async fn server(name: &str) -> Server {
    let address = format!("memory://{name}").parse().unwrap();
    let opened = DRIVER.open(&address).await.unwrap();
    let setup = Setup {
        node: name.to_owned(),
        driver: &DRIVER,
        limits: Limits::default(),
        shards: 1,
    };
    let (hub, mailboxes) = Hub::start(opened, setup).unwrap();
    let access = Access::new(AccessConfig {
        keys: Keys::from_text(KEY).unwrap(),
        anonymous: Actions::from_iter([Action::Subscribe]),
        ..AccessConfig::default()
    })
    .unwrap();
    let mounts = Mounts::with(&[MOUNT]).unwrap();
    let shards = Shards::start_here(&hub, mailboxes, &Arc::new(access), &mounts);
    assert!(hub.heard(Duration::from_secs(10)).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::start(shards, listener).unwrap()
}

/// Sends a request, and reads until its answer has this in it.
async fn ask(server: &Server, request: &str, wanted: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("{request}\r\nHost: {}\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, wanted).await;
    (stream, answer)
}

async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut answer = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&answer).contains(wanted) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it ended");
        }
    };
    let in_time = timeout(Duration::from_secs(5), reading).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    in_time.unwrap_or_else(|_| panic!("{answer:?} and no {wanted:?}"));
    answer
}

fn websocket(path: &str, subprotocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {subprotocol}"
    )
}

#[tokio::test]
async fn a_format_is_chosen_by_its_path_and_its_subprotocol() {
    let test = async {
        let server = server("toy-mounted").await;
        let (_keep, answer) = ask(&server, &websocket("/toy", "other, toy"), "YOU ARE ").await;
        assert!(answer.contains("101 Switching"), "{answer}");
        assert!(
            answer
                .to_lowercase()
                .contains("sec-websocket-protocol: toy"),
            "{answer}"
        );
        // At another path it is not known.
        let (_keep, answer) = ask(&server, &websocket("/ws", "toy"), "\r\n\r\n").await;
        assert!(answer.contains("101 Switching"), "{answer}");
        assert!(!answer.to_lowercase().contains("protocol: toy"), "{answer}");
        let (_, answer) = ask(&server, "GET /toy/sessions HTTP/1.1", "\r\n\r\n2").await;
        assert!(answer.contains("200 OK"), "{answer}");
        let (_, answer) = ask(&server, "POST /toy HTTP/1.1", "use GET for /toy").await;
        assert!(answer.contains("405 "), "{answer}");
        let (_, answer) = ask(&server, "GET /toy/nothing HTTP/1.1", "there is /ws").await;
        assert!(answer.contains("404 "), "{answer}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_session_may_be_the_body_of_a_response() {
    let test = async {
        let server = server("toy-body").await;
        let hub = Arc::clone(server.hub());
        let wrong = "GET /toy/lines?channel=c HTTP/1.1\r\nAuthorization: Bearer no";
        let (_, answer) = ask(&server, wrong, "the key is wrong").await;
        assert!(answer.contains("401 "), "{answer}");
        let request = "GET /toy/lines?channel=c&channel=d HTTP/1.1";
        let (mut client, answer) = ask(&server, request, "SUBSCRIBED  false [] 0\n").await;
        assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
        // More than the body keeps, so that the session must wait for its client.
        let long = "x".repeat(60_000);
        for number in 0..5 {
            let message = Outgoing::new("c", format!("{number} {long} end{number}"));
            hub.publish(vec![message]).await.unwrap().remove(0).unwrap();
        }
        for number in 0..5 {
            read_until(&mut client, &format!("end{number}")).await;
        }
        assert_eq!(hub.session_count(), 1);
        drop(client);
        let gone = async {
            while hub.session_count() > 0 {
                // The next message finds out that nobody reads.
                let message = Outgoing::new("c", "x");
                hub.publish(vec![message]).await.unwrap().remove(0).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.unwrap();
    };
    LocalSet::new().run_until(test).await;
}
