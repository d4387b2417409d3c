//! Messages to many, over TLS: whole and in order.

use hubplane_backplane::Outgoing;
use hubplane_hub::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use super::client::{Socket, config, connect, get, hub, trusting};

/// Lengths of data: small ones that are joined, and large ones of several records.
const LENGTHS: [usize; 6] = [0, 30, 1_000, 5_000, 20_000, 60_000];
const ROUNDS: usize = 60;

#[tokio::test]
async fn a_big_fan_out_arrives_whole_and_in_order() {
    let limits = Limits {
        outbox_bytes: 64 << 20,
        outbox_frames: 10_000,
        ..Limits::default()
    };
    let (server, authority) = hub("fan-out", limits).await;
    let mut readers = JoinSet::new();
    for number in 0..40 {
        // Every other one by the older version.
        let version = [&rustls::version::TLS12, &rustls::version::TLS13][number % 2];
        let stream = connect(server.address(), config(&authority, &[version]))
            .await
            .unwrap();
        let mut socket = Socket::open(stream, "c").await;
        readers.spawn(async move {
            for round in 0..ROUNDS {
                for length in LENGTHS {
                    let (opcode, said) = socket.hear().await.unwrap();
                    let data = data(round, length);
                    assert!(
                        opcode == 1 && said.contains(&data),
                        "{round}, {length} bytes"
                    );
                }
            }
        });
    }
    for round in 0..ROUNDS {
        let message = |length| Outgoing::new("c", data(round, length));
        let all = LENGTHS.into_iter().map(message).collect();
        server.hub().publish(all).await.unwrap();
    }
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
}

fn data(round: usize, length: usize) -> String {
    format!("[{round},\"{}\"]", "x".repeat(length))
}

/// More than hyper reads and writes at once, both ways.
#[tokio::test]
async fn bodies_of_http_are_whole() {
    let (server, authority) = hub("bodies", Limits::default()).await;
    let body = format!(
        r#"{{"messages":[{}]}}"#,
        (0..12)
            .map(|number| format!(r#"{{"channel":"c","data":{}}}"#, data(number, 60_000)))
            .collect::<Vec<_>>()
            .join(",")
    );
    let mut stream = trusting(&server, &authority).await;
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let stream = trusting(&server, &authority).await;
    let history = get(stream, "/v1/channels/c/history").await;
    for number in 0..12 {
        assert!(history.contains(&data(number, 60_000)), "{number}");
    }
}

/// What a client sends in pieces, and several messages in one record.
#[tokio::test]
async fn messages_of_a_client_arrive_whole() {
    let (server, authority) = hub("inward", Limits::default()).await;
    let mut listener = Socket::open(trusting(&server, &authority).await, "c").await;
    let mut socket = Socket::open(trusting(&server, &authority).await, "d").await;
    for length in [10, 30_000, 60_000] {
        let data = "y".repeat(length);
        socket
            .say(&format!(
                r#"{{"type":"publish","channel":"c","data":"{data}"}}"#
            ))
            .await;
        let (_, said) = listener.hear().await.unwrap();
        assert!(said.contains(&data), "{length}: {said}");
    }
}

/// The end of a session is told by TLS, too: without it a client could not tell it from one that
/// somebody on the way has cut off.
#[tokio::test]
async fn a_session_ends_with_a_word_of_tls() {
    let (server, authority) = hub("end", Limits::default()).await;
    let mut socket = Socket::open(trusting(&server, &authority).await, "c").await;
    server.hub().end_sessions(std::time::Duration::ZERO).await;
    let (opcode, _) = socket.hear().await.unwrap();
    assert_eq!(opcode, 8, "a close frame");
    // The answer to it: a close frame without a code.
    socket.0.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut rest = Vec::new();
    let end = socket.0.read_to_end(&mut rest).await;
    assert!(end.is_ok() && rest.is_empty(), "{end:?} {rest:?}");
}
