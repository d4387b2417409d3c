//! Clients that are slow, broken or wrong, and that the others don't notice.

use std::time::Duration;

use hubplane_hub::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    authority::{Authority, GOOD, Wanted},
    client::{PATIENCE, Socket, config, connect, get, hub, serve, trusting},
};
use crate::Server;

/// How many handshakes have failed, once they are as many as expected.
async fn failures(server: &Server, authority: &Authority, expected: u64) {
    let start = Instant::now();
    loop {
        let metrics = get(trusting(server, authority).await, "/metrics").await;
        let line = format!("\nhubplane_tls_handshakes_failed_total {expected}\n");
        if metrics.contains(&line) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not {expected}: {metrics}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Reads to the end, which comes in time.
async fn ends(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut got)).await;
    // A reset is an end, too.
    _ = end.expect("the connection ends");
    got
}

#[tokio::test]
async fn slow_handshakes_end_after_their_time_and_hold_up_nobody() {
    let limits = Limits {
        handshake_timeout: Duration::from_secs(4),
        connections: 40,
        ..Limits::default()
    };
    let (server, authority) = hub("slow", limits).await;
    let start = Instant::now();
    let mut slow = Vec::new();
    for number in 0..30 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        slow.push(tokio::spawn(async move {
            // The beginning of a handshake record of 512 bytes: one byte a second, or none more.
            for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3] {
                if stream.write_all(&[byte]).await.is_err() || number % 2 == 0 {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            ends(&mut stream).await;
            start.elapsed()
        }));
    }
    for _ in 0..5 {
        let answer = get(trusting(&server, &authority).await, "/live").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let ended = slow.iter().filter(|it| it.is_finished()).count();
    assert_eq!(ended, 0, "the others are served meanwhile");
    for ended in slow {
        let after = ended.await.unwrap();
        assert!(after >= Duration::from_millis(3_900), "{after:?}");
    }
    failures(&server, &authority, 30).await;
}

#[tokio::test]
async fn half_open_handshakes_are_counted_as_connections() {
    let limits = Limits {
        handshake_timeout: Duration::from_secs(3),
        connections: 3,
        ..Limits::default()
    };
    let (server, authority) = hub("half-open", limits).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(&[22]).await.unwrap();
        all.push(stream);
    }
    let open = || connect(server.address(), config(&authority, rustls::ALL_VERSIONS));
    let start = Instant::now();
    while open().await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "one more is closed");
    }
    for stream in &mut all {
        ends(stream).await;
    }
    failures(&server, &authority, 3).await;
}

#[tokio::test]
async fn plain_http_is_told_what_to_do() {
    let (server, authority) = hub("plain", Limits::default()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    stream.shutdown().await.unwrap();
    let rest = String::from_utf8(ends(&mut stream).await).unwrap();
    assert!(rest.contains("https://"), "{rest}");
    failures(&server, &authority, 1).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(b"\0\0\0\0 nothing that anybody knows")
        .await
        .unwrap();
    let alert = ends(&mut stream).await;
    assert!(alert.first().is_none_or(|first| *first == 21), "{alert:?}");
    failures(&server, &authority, 2).await;
    // A balancer's look whether the port is open is no handshake.
    drop(TcpStream::connect(server.address()).await.unwrap());
    failures(&server, &authority, 2).await;
}

#[tokio::test]
async fn a_certificate_that_clients_refuse_does_no_harm() {
    for (wanted, why) in [
        (
            Wanted {
                until: 2_001,
                ..GOOD
            },
            "Expired",
        ),
        (
            Wanted {
                name: "elsewhere.example",
                ..GOOD
            },
            "NotValidForName",
        ),
    ] {
        let authority = Authority::new();
        authority.write(wanted);
        let server = serve(why, authority.load().unwrap(), Limits::default(), 1).await;
        for _ in 0..3 {
            let trusting = config(&authority, rustls::ALL_VERSIONS);
            let error = connect(server.address(), trusting).await.unwrap_err();
            assert!(format!("{error:?}").contains(why), "{error:?}");
        }
        // The same server, with a certificate that is right.
        authority.write(GOOD);
        let start = Instant::now();
        while connect(server.address(), config(&authority, rustls::ALL_VERSIONS))
            .await
            .is_err()
        {
            assert!(start.elapsed() < PATIENCE, "the new certificate is served");
            sleep(Duration::from_millis(100)).await;
        }
        let metrics = get(trusting(&server, &authority).await, "/metrics").await;
        assert!(
            !metrics.contains("hubplane_tls_handshakes_failed_total 0\n"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off_and_nobody_else_waits() {
    let limits = Limits {
        write_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let (server, authority) = hub("slow-reader", limits).await;
    // It holds the connection open, and reads nothing.
    let _slow = Socket::open(trusting(&server, &authority).await, "c").await;
    let mut other = Socket::open(trusting(&server, &authority).await, "c").await;
    let start = Instant::now();
    let text = format!("\"{}\"", "x".repeat(60_000));
    for number in 0.. {
        let message = hubplane_backplane::Outgoing::new("c", text.clone());
        server.hub().publish(vec![message]).await.unwrap();
        let (_, said) = other.hear().await.unwrap();
        assert!(said.len() > 60_000, "message {number} is whole");
        if server.hub().session_count() == 1 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the slow one is still there");
    }
    let slow = server
        .hub()
        .counts()
        .slow
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(slow, 1);
}
