//! HTTP as browsers, proxies and health checks speak it.

use std::{fs, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Client, Raw, SOON, publish},
    hub::{Hub, directory},
};

/// Sends these bytes on a new connection, and reads the whole answer.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut got)).await;
    read.expect("an answer in time").expect("no reset");
    // In small letters, as header names have no case.
    String::from_utf8_lossy(&got).to_lowercase()
}

/// A request with these header lines after the first, and without a body.
async fn ask(hub: &Hub, first: &str, lines: &str) -> String {
    let request = format!(
        "{first} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{lines}\r\n",
        hub.address
    );
    exchange(hub.address, &request).await
}

/// Checks the status, and that each of these header lines is there as a whole.
fn has(answer: &str, status: u16, lines: &[&str]) {
    assert!(
        answer.starts_with(&format!("http/1.1 {status} ")),
        "{answer}"
    );
    for line in lines {
        assert!(
            answer.contains(&format!("\r\n{line}\r\n")),
            "{line}: {answer}"
        );
    }
}

#[tokio::test]
async fn methods_are_answered_as_the_standard_asks() {
    let hub = Hub::memory();
    has(
        &ask(&hub, "POST /ready", "").await,
        405,
        &["allow: get, head"],
    );
    has(
        &ask(&hub, "GET /v1/publish", "").await,
        405,
        &["allow: post, options"],
    );
    has(
        &ask(&hub, "DELETE /v1/channels/a/history", "").await,
        405,
        &["allow: get, head, options"],
    );
    has(
        &ask(&hub, "GET /ws", "").await,
        426,
        &["upgrade: websocket", "sec-websocket-version: 13"],
    );
    has(&ask(&hub, "GET /nowhere", "").await, 404, &[]);
    for path in ["/live", "/ready", "/metrics", "/v1/channels/a/presence"] {
        let answer = ask(&hub, &format!("HEAD {path}"), "").await;
        has(
            &answer,
            200,
            &["x-content-type-options: nosniff", "cache-control: no-store"],
        );
        // HEAD has the headers of GET and no body (RFC 9110, section 9.3.2).
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    }
}

#[tokio::test]
async fn pages_of_listed_origins_may_use_http() {
    let hub = Hub::start(&["--origin", "https://app.example"]);
    let listed = "origin: https://app.example\r\n";
    let allow = "access-control-allow-origin: https://app.example";
    for path in [
        "/v1/channels/a/history",
        "/v1/channels/a/presence",
        "/v1/publish",
    ] {
        let wish = format!("{listed}access-control-request-method: GET\r\n");
        let answer = ask(&hub, &format!("OPTIONS {path}"), &wish).await;
        has(&answer, 204, &[allow, "vary: origin"]);
        assert!(answer.contains("idempotency-key"), "{answer}");
        let foreign = wish.replace("app.", "evil.");
        let answer = ask(&hub, &format!("OPTIONS {path}"), &foreign).await;
        has(&answer, 403, &[]);
        assert!(!answer.contains("access-control-allow"), "{answer}");
    }
    has(
        &ask(&hub, "GET /v1/channels/a/presence", listed).await,
        200,
        &[allow],
    );
    let refused = ask(&hub, "POST /v1/publish", listed).await;
    has(&refused, 415, &[allow]);
    let metrics = ask(&hub, "GET /metrics", listed).await;
    assert!(!metrics.contains("access-control-allow"), "{metrics}");
}

#[tokio::test]
async fn a_hub_without_a_key_on_loopback_answers_to_no_foreign_name() {
    let local = Hub::memory();
    let named = Hub::start(&["--host", "hub.example"]);
    let with =
        |host: &str| format!("GET /ready HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    for own in ["localhost", "127.0.0.1:1", "[::1]", "a.localhost"] {
        has(&exchange(local.address, &with(own)).await, 200, &[]);
    }
    for foreign in ["evil.example", "hub.example:8080", ""] {
        has(&exchange(local.address, &with(foreign)).await, 421, &[]);
    }
    has(
        &exchange(named.address, &with("Hub.example:8080")).await,
        200,
        &[],
    );
    has(
        &exchange(named.address, &with("evil.example")).await,
        421,
        &[],
    );
    let no_host = "GET /ready HTTP/1.1\r\nconnection: close\r\n\r\n";
    has(&exchange(local.address, no_host).await, 400, &[]);
    let two =
        "GET /ready HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    has(&exchange(local.address, two).await, 400, &[]);
    let old = exchange(local.address, "GET /ready HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(" 200 "), "a health check of HTTP/1.0: {old}");
}

#[tokio::test]
async fn bodies_that_two_programs_could_read_in_two_ways_are_refused() {
    let hub = Hub::memory();
    let body = "0\r\n\r\n";
    for coding in ["gzip, chunked", "identity", "chunked, chunked"] {
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: {coding}\r\n\r\n{body}"
        );
        let answer = exchange(hub.address, &request).await;
        assert!(
            answer.starts_with("http/1.1 400") || answer.starts_with("http/1.1 501"),
            "{coding}: {answer}"
        );
    }
    let upgrade = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request =
        format!("GET /ws HTTP/1.1\r\nhost: localhost\r\n{upgrade}content-length: 2\r\n\r\n{{}}");
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = [0; 12];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"HTTP/1.1 400");
    has(&ask(&hub, "GET /ws?channel=%FF", upgrade).await, 400, &[]);
}

#[tokio::test]
async fn messages_are_objects() {
    let hub = Hub::memory();
    for body in [
        r#"["c",1]"#,
        r#"{"messages":[["c",1]]}"#,
        r#"["c",1,null,null]"#,
    ] {
        let (status, answer) = publish(hub.address, "", body).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
    let mut raw = Raw::connect(hub.address, "").await;
    let array = crate::client::frame(0x81, br#"["ping"]"#);
    raw.0.write_all(&array).await.unwrap();
    assert_eq!(raw.close_code().await, 3501);
    let mut client = Client::connect(hub.address, "", &[]).await;
    assert_eq!(client.ask("").await["code"], "malformed");
    let subscribe = r#"{"type":"subscribe","channel":"c","presence":["me"]}"#;
    assert_eq!(client.ask(subscribe).await["type"], "error");
}

#[tokio::test]
async fn what_is_documented_of_limits_is_so() {
    let hub = Hub::memory();
    let mut client = Client::connect(hub.address, "?channel=c", &[]).await;
    client.json().await;
    for (length, kind) in [(64, "unsubscribed"), (65, "error")] {
        let reference = "r".repeat(length);
        let text = format!(r#"{{"type":"unsubscribe","channel":"c","ref":"{reference}"}}"#);
        assert_eq!(client.ask(&text).await["type"], kind, "{length}");
    }
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for (depth, status) in [(128, 200), (129, 400)] {
        let data = nested(depth);
        for body in [
            format!(r#"{{"channel":"c","data":{data}}}"#),
            format!(r#"{{"messages":[{{"channel":"c","data":{data}}}]}}"#),
        ] {
            assert_eq!(publish(hub.address, "", &body).await.0, status, "{depth}");
        }
    }
    let text = format!(
        r#"{{"type":"publish","channel":"c","data":{}}}"#,
        nested(128)
    );
    assert_eq!(client.ask(&text).await["type"], "published");
    let identity = "content-encoding: identity\r\n";
    let body = r#"{"channel":"c","data":1}"#;
    assert_eq!(publish(hub.address, identity, body).await.0, 200);
    let basic = "authorization: Basic eDp5\r\n";
    assert_eq!(publish(hub.address, basic, body).await.0, 200);
    let header = [("authorization", "Basic eDp5")];
    assert!(Client::attempt(hub.address, "", &header).await.is_ok());
}

#[tokio::test]
async fn a_batch_of_one_is_named_as_a_batch() {
    let hub = Hub::memory();
    let mut client = Client::connect(hub.address, "?channel=c", &[]).await;
    client.json().await;
    let key = "idempotency-key: k\r\n";
    for (body, id) in [
        (r#"{"messages":[{"channel":"c","data":1}]}"#, "k.0"),
        (r#"{"channel":"c","data":1}"#, "k"),
    ] {
        assert_eq!(publish(hub.address, key, body).await.0, 200);
        assert_eq!(client.json().await["id"], id);
    }
}

#[tokio::test]
async fn a_large_refused_body_is_answered_and_not_reset() {
    let hub = Hub::memory();
    let body = "x".repeat(8 * 1024 * 1024);
    let request = format!(
        "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    // All is sent before anything is read.
    has(&exchange(hub.address, &request).await, 413, &[]);
}

#[tokio::test]
async fn strangers_do_not_learn_where_the_broker_is() {
    let place = directory("key");
    let file = place.join("key");
    let key = "0123456789abcdef0123456789abcdef";
    fs::write(&file, key).unwrap();
    let hub = Hub::start(&["--key-file", file.to_str().unwrap(), "--drain-delay", "5s"]);
    let status = std::process::Command::new("kill")
        .arg(hub.pid().to_string())
        .status();
    assert!(status.unwrap().success());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let shown = format!("authorization: Bearer {key}\r\n");
    for (path, status) in [("GET /ready", 503), ("GET /v1/backplane", 200)] {
        let stranger = ask(&hub, path, "").await;
        has(&stranger, status, &[]);
        assert!(!stranger.contains("stopping"), "{stranger}");
        assert!(ask(&hub, path, &shown).await.contains("stopping"));
    }
}

#[tokio::test]
async fn a_page_of_history_ends_early_when_it_is_large() {
    let hub = Hub::memory();
    let large = "x".repeat(60_000);
    for number in 0..60 {
        let body = format!(r#"{{"channel":"c","data":[{number},"{large}"]}}"#);
        assert_eq!(publish(hub.address, "", &body).await.0, 200);
    }
    let (mut after, mut next, mut pages) = (String::new(), 0, 0);
    loop {
        let target = format!("GET /v1/channels/c/history?limit=1000{after}");
        let (status, body) = crate::client::http(hub.address, &target, "").await;
        assert_eq!(status, 200, "{body}");
        assert!(body.len() < 3_000_000, "{}", body.len());
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        for message in page["messages"].as_array().unwrap() {
            assert_eq!(message["data"][0], next);
            next += 1;
        }
        pages += 1;
        if page["more"] == false {
            break;
        }
        after = format!("&after={}", page["position"].as_str().unwrap());
    }
    assert_eq!(next, 60, "every message once, over all pages");
    assert!(pages > 1);
}
