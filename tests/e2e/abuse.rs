//! What a hostile or broken client can do, and that the others don't notice.

use std::{process::Command, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, Raw, answer, frame, http, publish},
    hub::Hub,
    redis::Redis,
};

/// A new client is served, and quickly.
async fn serves(hub: &Hub) {
    let start = Instant::now();
    let mut client = Client::connect(hub.address, "?channel=fresh", &[]).await;
    assert_eq!(client.json().await["type"], "subscribed");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "a new client is served in {:?}",
        start.elapsed()
    );
}

async fn ends_within(mut stream: TcpStream, limit: Duration, what: &str) {
    let ended = timeout(limit, async {
        let mut part = [0; 1024];
        while let Ok(1..) = stream.read(&mut part).await {}
    });
    assert!(ended.await.is_ok(), "{what} is closed within {limit:?}");
}

#[tokio::test]
async fn slow_and_silent_connections_are_closed() {
    let hub = Hub::configured("[limits]\nbody_timeout = \"6s\"\n");
    let body = "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let mut all = Vec::new();
    for _ in 0..670 {
        for (what, text) in [
            ("a silent one", ""),
            ("half a head", "GET /ws HTTP/1.1\r\nhost:"),
            ("half a body", body),
        ] {
            let mut stream = TcpStream::connect(hub.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            all.push((what, stream));
        }
    }
    serves(&hub).await;
    let limit = Duration::from_secs(14);
    futures_util::future::join_all(
        all.into_iter()
            .map(|(what, stream)| ends_within(stream, limit, what)),
    )
    .await;
}

#[tokio::test]
async fn connections_are_bounded_and_come_free_again() {
    let hub = Hub::configured("[limits]\nconnections = 3\nheader_timeout = \"1s\"\n");
    let mut client = Client::connect(hub.address, "?channel=a", &[]).await;
    assert_eq!(client.json().await["type"], "subscribed");
    let _idle = [
        TcpStream::connect(hub.address).await.unwrap(),
        TcpStream::connect(hub.address).await.unwrap(),
    ];
    sleep(Duration::from_millis(200)).await;
    for _ in 0..20 {
        let (status, body) = http(hub.address, "GET /ready", "").await;
        assert_eq!(status, 503, "the fourth is refused: {body}");
        assert!(body.contains("as many connections"), "{body}");
    }
    assert!(Client::attempt(hub.address, "", &[]).await.is_err());
    sleep(Duration::from_secs(2)).await;
    assert!(
        Client::attempt(hub.address, "", &[]).await.is_ok(),
        "the idle ones are gone"
    );
    assert_eq!(client.ask(r#"{"type":"ping"}"#).await["type"], "pong");
}

#[tokio::test]
async fn violations_are_answered_with_their_close_code() {
    let hub = Hub::memory();
    let deep = format!(
        "{{\"type\":\"ping\",\"x\":{}1{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let twice = br#"{"type":"ping","type":"ping"}"#;
    for (what, bytes, code) in [
        ("unmasked", vec![0x81, 1, b'x'], 1002),
        ("reserved bit", frame(0xc1, b"x"), 1002),
        ("reserved opcode", frame(0x83, b""), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("orphan continuation", frame(0x80, b"x"), 1002),
        ("bad UTF-8", frame(0x81, b"\xff"), 1007),
        ("binary", frame(0x82, b"x"), 1003),
        ("too large", frame(0x81, &vec![b'1'; 70_000]), 1009),
        (
            "length of 2^63",
            vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
            1009,
        ),
        (
            "a number of 1 MiB",
            frame(0x81, &vec![b'1'; 1024 * 1024]),
            1009,
        ),
        ("deep JSON", frame(0x81, deep.as_bytes()), 3501),
        ("a key twice", frame(0x81, twice), 3501),
        ("no JSON", frame(0x81, b"hello"), 3501),
        ("a close", frame(0x88, b"\x03\xe8bye"), 1000),
        ("a bare close", frame(0x88, b""), 1005),
    ] {
        let mut raw = Raw::connect(hub.address, "").await;
        let start = Instant::now();
        _ = raw.0.write_all(&bytes).await;
        assert_eq!(raw.close_code().await, code, "{what}");
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{what} took {:?}",
            start.elapsed()
        );
    }
    let mut raw = Raw::connect(hub.address, "").await;
    let parts = [
        frame(0x01, b"{\"type\":"),
        frame(0x89, b"are you there"),
        frame(0x80, b"\"ping\"}"),
    ]
    .concat();
    raw.0.write_all(&parts).await.unwrap();
    assert_eq!(
        raw.frame().await.unwrap(),
        (10, b"are you there".to_vec()),
        "a ping between fragments is answered"
    );
    assert_eq!(
        raw.frame().await.unwrap(),
        (1, b"{\"type\":\"pong\"}".to_vec())
    );
    serves(&hub).await;
}

#[tokio::test]
async fn floods_are_cut_off_and_cost_little() {
    let hub = Hub::memory();
    let before = hub.cpu();
    for (what, start, flood) in [
        ("empty fragments", frame(0x01, b""), frame(0x00, b"")),
        ("pings", Vec::new(), frame(0x89, b"")),
        ("empty messages", Vec::new(), frame(0x81, b"")),
    ] {
        let mut raw = Raw::connect(hub.address, "").await;
        raw.0.write_all(&start).await.unwrap();
        let (mut reading, mut writing) = raw.0.split();
        let write = async {
            let many = flood.repeat(1_000);
            while writing.write_all(&many).await.is_ok() {}
        };
        let mut got = Vec::new();
        let read = reading.read_to_end(&mut got);
        let both = async { tokio::join!(write, read) };
        assert!(
            timeout(Duration::from_secs(20), both).await.is_ok(),
            "{what} are cut off"
        );
    }
    let spent = hub.cpu() - before;
    assert!(spent < Duration::from_secs(2), "the floods cost {spent:?}");
    serves(&hub).await;
}

#[tokio::test]
async fn who_does_not_answer_pings_is_dropped() {
    let hub = Hub::configured("[limits]\nping_interval = \"600ms\"\npong_timeout = \"400ms\"\n");
    let mut silent = Raw::connect(hub.address, "").await;
    let mut polite = Client::connect(hub.address, "", &[]).await;
    let code = async { silent.close_code().await };
    let stays = async {
        // The library answers pings while it reads.
        let came = timeout(Duration::from_secs(3), polite.come()).await;
        assert!(came.is_err(), "who answers stays: {came:?}");
    };
    let (code, ()) = tokio::join!(code, stays);
    assert_eq!(code, 3012);
}

/// A client that has asked for `news` and has not read since.
async fn unread(hub: &Hub) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut slow = socket.connect(hub.address).await.unwrap();
    let request = format!(
        "GET /ws?channel=news HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        hub.address
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.push(slow.read_u8().await.unwrap());
    }
    slow
}

/// Publishes large messages to `news`, each read at once by `reader`.
async fn news(hub: &Hub, reader: &mut Client, count: usize) {
    let large = "x".repeat(60_000);
    for n in 0..count {
        let body = format!("{{\"channel\":\"news\",\"data\":[{n},\"{large}\"]}}");
        assert_eq!(publish(hub.address, "", &body).await.0, 200);
        assert_eq!(
            reader.json().await["data"][0],
            n,
            "the other one gets each at once"
        );
    }
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off_and_nobody_else_waits() {
    let limits =
        "[limits]\nwrite_timeout = \"40s\"\nhandshake_timeout = \"40s\"\nwindow_bytes = 1000000\n";
    let hub = Hub::configured(&format!(
        "backplane = \"memory:?max-messages=10\"\n{limits}"
    ));
    let slow = unread(&hub).await;
    let mut reader = Client::connect(hub.address, "?channel=news", &[]).await;
    assert_eq!(reader.json().await["type"], "subscribed");
    news(&hub, &mut reader, 20).await;
    let before = hub.resident();
    news(&hub, &mut reader, 500).await;
    let grown = hub.resident().saturating_sub(before);
    assert!(
        grown < 8 * 1024 * 1024,
        "30 MB were published, the slow one's outbox is bounded: {grown}"
    );
    assert_eq!(
        Raw(slow).close_code().await,
        1013,
        "what it finds when it reads at last"
    );
    let metrics = http(hub.address, "GET /metrics", "").await.1;
    assert!(
        metrics.contains("hubplane_slow_sessions_total 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn who_never_reads_is_dropped() {
    let limits = "write_timeout = \"1s\"\noutbox_bytes = 100000000\noutbox_frames = 100000\n";
    let hub = Hub::configured(&format!("[limits]\n{limits}"));
    let _slow = unread(&hub).await;
    let mut reader = Client::connect(hub.address, "?channel=news", &[]).await;
    assert_eq!(reader.json().await["type"], "subscribed");
    news(&hub, &mut reader, 150).await;
    let start = Instant::now();
    while !http(hub.address, "GET /metrics", "")
        .await
        .1
        .contains("hubplane_sessions 1\n")
    {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "it is dropped after the write timeout"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn http_bodies_and_heads_are_bounded() {
    let hub = Hub::memory();
    let data = "x".repeat(65 * 1024);
    assert_eq!(
        publish(
            hub.address,
            "",
            &format!("{{\"channel\":\"a\",\"data\":\"{data}\"}}")
        )
        .await
        .0,
        413
    );
    let batch = vec!["{\"channel\":\"a\",\"data\":1}"; 10_000].join(",");
    assert_eq!(
        publish(hub.address, "", &format!("{{\"messages\":[{batch}]}}"))
            .await
            .0,
        413
    );
    assert_eq!(
        publish(
            hub.address,
            "content-encoding: gzip\r\n",
            "{\"channel\":\"a\",\"data\":1}"
        )
        .await
        .0,
        415
    );
    let headers: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(publish(hub.address, &headers, "{}").await.0, 431);
    let deep = format!(
        "{{\"channel\":\"a\",\"data\":{}1{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert_eq!(publish(hub.address, "", &deep).await.0, 400);

    // Without a length: taken up to the limit, no further.
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let head = "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
    for _ in 0..40 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let (status, _) = answer(&mut stream).await;
    assert_eq!(status, 413);

    // HTTP/2 without TLS is not spoken.
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut got = Vec::new();
    _ = timeout(Duration::from_secs(8), stream.read_to_end(&mut got))
        .await
        .expect("closed");
    assert!(
        got.is_empty() || got.starts_with(b"HTTP/1.1 4"),
        "{}",
        String::from_utf8_lossy(&got)
    );
    serves(&hub).await;
}

#[tokio::test]
async fn connections_leave_files_for_the_broker() {
    let redis = Redis::new();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -Sn 64; ulimit -Hn 400; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_hubplane"),
    ]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1"]);
    command.args(["--backplane", &redis.address(), "--wait", "20s"]);
    let hub = Hub::spawn(command, "listening on http://");
    let mut all = Vec::new();
    for _ in 0..500 {
        all.push(TcpStream::connect(hub.address).await.unwrap());
    }
    sleep(Duration::from_millis(500)).await;
    assert!(hub.log().contains("fitting=200"), "{}", hub.log());
    let port = redis.port;
    drop(redis);
    let _redis = Redis::start(port);
    let start = Instant::now();
    let mut ready = false;
    while !ready {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "it reaches its broker again: {}",
            hub.log()
        );
        // Above the limit, a connection says 503 whatever the hub's health.
        all.truncate(100);
        sleep(Duration::from_millis(200)).await;
        ready = http(hub.address, "GET /ready", "").await.0 == 200;
    }
}
