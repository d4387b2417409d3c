//! The endpoint against real servers: what is asked, what is answered, and how failures end.

mod failures;
mod load;
mod logs;

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use http::HeaderMap;
use hubplane_backplane::Secret;
use sha2::{Digest, Sha256};

use super::*;
use crate::test_server::{Certificate, Received, Reply, Server, lookup_of};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

fn config(server: &Server) -> EndpointConfig {
    let url = |path| Some(Secret::new(server.url(path)));
    EndpointConfig {
        connect: url("/connect"),
        subscribe: url("/subscribe"),
        allow_private: true,
        timeout: Duration::from_secs(20),
        ..EndpointConfig::default()
    }
}

fn endpoint(config: &EndpointConfig) -> Arc<Endpoint> {
    config.check().unwrap();
    let outbound = Outbound::new(&config.outbound()).unwrap();
    Arc::new(Endpoint::with_parts(config, outbound, SigningKey::new(SECRET).unwrap()).unwrap())
}

fn question(wish: Wish<'static>) -> Question<'static> {
    Question {
        wish,
        user: None,
        client: None,
        address: ADDRESS,
        headers: &NO_HEADERS,
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Answer, EndpointError> {
    endpoint.ask(question(Wish::Connect)).await
}

fn allow() -> Reply {
    Reply::Answer(200, r#"{"allow":true}"#.to_owned())
}

/// HMAC-SHA256 by RFC 2104, from the hash alone.
fn hmac(secret: &[u8], text: &[u8]) -> String {
    let mut key = [0; 64];
    match secret.len() <= 64 {
        true => key[..secret.len()].copy_from_slice(secret),
        false => key[..32].copy_from_slice(&Sha256::digest(secret)),
    }
    let inner = Sha256::new()
        .chain_update(key.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new()
        .chain_update(key.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a signature as a backend would, and returns its time.
fn signed_at(request: &Received) -> u64 {
    let value = request.header(SIGNATURE_HEADER).unwrap();
    let (time, signature) = value
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let text = [time.as_bytes(), b".", &request.body].concat();
    assert_eq!(signature, hmac(SECRET.as_bytes(), &text));
    time.parse().unwrap()
}

#[tokio::test]
async fn a_question_is_signed_and_holds_the_named_headers_alone() {
    let server = Server::start(|_, _| allow()).await;
    let config = EndpointConfig {
        headers: vec!["Cookie".to_owned(), "x-tenant".to_owned()],
        ..config(&server)
    };
    let endpoint = endpoint(&config);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("cookie", "sid=1"),
        ("authorization", "Bearer 1"),
        ("x-other", "1"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let asked = Question {
        user: Some("ann"),
        client: Some("phone"),
        headers: &headers,
        ..question(Wish::Subscribe {
            channel: "orders.7",
        })
    };
    endpoint.ask(asked).await.unwrap();

    let [request] = &server.received()[..] else {
        panic!("one request")
    };
    assert!(
        request.head.starts_with("POST /subscribe HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    for name in ["cookie", "authorization", "x-other"] {
        assert_eq!(request.header(name), None);
    }
    let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let wanted = serde_json::json!({
        "type": "subscribe", "address": "192.0.2.7", "user": "ann", "client": "phone",
        "channel": "orders.7", "headers": {"cookie": "sid=1"},
    });
    assert_eq!(json, wanted);

    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(now - signed_at(request) < 60);
    let value = request.header(SIGNATURE_HEADER).unwrap();
    let key = SigningKey::new(SECRET).unwrap();
    assert_eq!(
        key.verify(value, &request.body, now, Duration::from_secs(60)),
        Ok(())
    );
}

#[tokio::test]
async fn the_backend_allows_and_refuses() {
    let replies = [
        (200, r#"{"allow":true,"user":"ann","expires_in":60}"#),
        (200, r#"{"allow":false,"reason":"closed"}"#),
        (401, ""),
        (403, "<html>"),
    ];
    let server = Server::start(move |number, _| {
        let (status, body) = replies[number];
        Reply::Answer(status, body.to_owned())
    })
    .await;
    let endpoint = endpoint(&config(&server));
    let Ok(Answer::Allowed(allowed)) = connect(&endpoint).await else {
        panic!("allowed")
    };
    assert_eq!(allowed.user.as_deref(), Some("ann"));
    assert_eq!(allowed.expires_in, Some(Duration::from_secs(60)));
    for why in [Some("closed"), None, None] {
        let answer = connect(&endpoint).await;
        assert!(
            matches!(&answer, Ok(Answer::Refused { reason }) if reason.as_deref() == why),
            "{answer:?}"
        );
    }
    assert_eq!(
        (server.count(), server.connections()),
        (4, 1),
        "the connection is used again"
    );
}

#[tokio::test]
async fn only_what_has_a_url_is_asked() {
    let server = Server::start(|_, _| allow()).await;
    let endpoint = endpoint(&config(&server));
    let publish = Wish::Publish {
        channel: "c",
        data: b"1",
    };
    assert!(endpoint.asks(&Wish::Connect) && !endpoint.asks(&publish));
    let error = endpoint.ask(question(publish)).await.unwrap_err();
    assert_eq!((error.failure, server.count()), (Failure::NotAsked, 0));
}

#[tokio::test]
async fn a_backend_is_asked_by_tls_with_its_own_authority() {
    let certificate = Certificate::of("localhost");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start_at(address, Some(&certificate), |_, _| allow()).await;
    let config = EndpointConfig {
        connect: Some(Secret::new(format!(
            "https://localhost:{}/",
            server.address.port()
        ))),
        ca: Some(certificate.file.clone()),
        ..config(&server)
    };
    assert!(matches!(
        connect(&endpoint(&config)).await,
        Ok(Answer::Allowed(_))
    ));
    let unknown = endpoint(&EndpointConfig { ca: None, ..config });
    let error = connect(&unknown).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(server.count(), 1);
}

#[test]
fn wrong_settings_are_named_and_nothing_secret_is_shown() {
    let with = |url: &str, allow_private| EndpointConfig {
        publish: Some(Secret::new(url)),
        allow_private,
        secret: Some(Secret::new("file:Cargo.toml")),
        ..EndpointConfig::default()
    };
    for (url, named) in [
        ("https://ann:hidden@b.example", "[endpoint] publish: "),
        ("http://b.example/hidden", "allow_private"),
        ("https://10.0.0.1/hidden", "allow_private"),
        ("https://b.example/hi dden", "[endpoint] publish: "),
    ] {
        let error = Endpoint::new(&with(url, false)).unwrap_err();
        assert!(error.contains(named) && !error.contains("dden"), "{error}");
    }
    let endpoint = Endpoint::new(&with("https://10.0.0.1/hidden?key=hidden", true)).unwrap();
    let shown = format!("{endpoint:?}");
    assert!(
        shown.contains("10.0.0.1") && !shown.contains("hidden") && !shown.contains("tokio"),
        "{shown}"
    );
}
