//! The configurations of docs/security.md, each executed as it stands there. Only the places of
//! secrets and the addresses of others are put in.

use std::{fs, time::SystemTime};

use hubplane_identity::token::{KeyKind, SigningKey, generate};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    client::{Client, ask},
    hub::{Directory, Hub, directory},
};

/// The configuration in the section with this title, with secrets in a folder of the test.
fn documented(title: &str) -> (Directory, String) {
    let text = include_str!("../../docs/security.md");
    let section = text.split("\n## ").find(|it| it.starts_with(title));
    let section = section.unwrap_or_else(|| panic!("no section {title}"));
    let toml = section.split("```toml\n").nth(1).unwrap();
    let toml = toml.split("```").next().unwrap();
    let place = directory("security");
    for secret in ["orders", "monitoring", "backend", "token-key", "endpoint"] {
        fs::write(place.join(secret), secret_of(secret)).unwrap();
    }
    let secrets = place.to_str().unwrap().to_owned();
    (place, toml.replace("/run/secrets", &secrets))
}

fn secret_of(name: &str) -> String {
    format!("{name:-<40}")
}

fn bearer(proof: &str) -> String {
    format!("authorization: Bearer {proof}\r\n")
}

fn subscribe(channel: &str) -> String {
    json!({"type":"subscribe","channel":channel}).to_string()
}

async fn session(hub: &Hub, token: &str) -> Client {
    let mut client = Client::connect(hub.address, "", &[]).await;
    let auth = json!({"type":"auth","token":token}).to_string();
    assert_eq!(client.ask(&auth).await["type"], "authenticated");
    client
}

fn signed(key: &SigningKey, issuer: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let end = now.unwrap().as_secs() + 60;
    let claims = json!({"iss":issuer,"aud":"hub","sub":"ann","exp":end});
    key.sign(&claims.to_string()).unwrap()
}

/// Answers every request with this JSON. Returns the address.
async fn answering(body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            _ = stream.read(&mut request).await;
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn keys_only() {
    let (_place, config) = documented("Keys only");
    let hub = Hub::configured(&config);
    let publish = |channel: &str| json!({"channel":channel,"data":1}).to_string();
    let orders = bearer(&secret_of("orders"));
    for (channel, status) in [("orders.7", 200), ("news", 403)] {
        let answer = ask(hub.address, "POST /v1/publish", &orders, &publish(channel)).await;
        assert_eq!(answer.0, status, "{answer:?}");
    }
    let monitoring = bearer(&secret_of("monitoring"));
    for (who, status) in [(&*monitoring, 200), (&*orders, 403), ("", 401)] {
        assert_eq!(ask(hub.address, "GET /metrics", who, "").await.0, status);
    }
    let mut anybody = Client::connect(hub.address, "", &[]).await;
    assert_eq!(
        anybody.ask(&subscribe("orders.7")).await["type"],
        "subscribed"
    );
}

#[tokio::test]
async fn tokens_that_you_sign_yourself() {
    let (_place, config) = documented("Tokens that you sign yourself");
    let hub = Hub::configured(&config);
    let key = SigningKey::new(&secret_of("token-key")).unwrap();
    let mut ann = session(&hub, &signed(&key, "https://login.example")).await;
    assert_eq!(
        ann.ask(&subscribe("user.ann.jobs")).await["type"],
        "subscribed"
    );
    assert_eq!(
        ann.ask(&subscribe("user.bob.jobs")).await["code"],
        "forbidden"
    );
    let backend = bearer(&secret_of("backend"));
    let body = r#"{"channel":"user.ann.jobs","data":1}"#;
    assert_eq!(
        ask(hub.address, "POST /v1/publish", &backend, body).await.0,
        200
    );
    assert_eq!(ann.json().await["data"], 1);
}

#[tokio::test]
async fn tokens_of_an_identity_provider() {
    let key = SigningKey::new(&generate(KeyKind::P256).unwrap()).unwrap();
    let keys: Value = serde_json::from_str(&key.public_jwks().unwrap()).unwrap();
    let provider = answering(keys).await;
    let (_place, config) = documented("Tokens of an identity provider");
    let config = config.replace(
        "jwks = \"https://idp.example",
        &format!("allow_loopback = true\njwks = \"{provider}"),
    );
    let hub = Hub::configured(&config);
    let token = signed(&key, "https://idp.example/realms/shop");
    // Over HTTP the hub waits for the keys, which it may still be fetching.
    let value = format!("Bearer {token}");
    let mut ann = Client::connect(hub.address, "", &[("authorization", &*value)]).await;
    assert_eq!(
        ann.ask(&subscribe("shop.user.ann")).await["type"],
        "subscribed"
    );
    assert_eq!(
        ann.ask(&subscribe("shop.user.bob")).await["code"],
        "forbidden"
    );
    let mut anybody = Client::connect(hub.address, "", &[]).await;
    assert_eq!(
        anybody.ask(&subscribe("shop.news")).await["type"],
        "subscribed"
    );
}

#[tokio::test]
async fn session_cookies() {
    let backend = answering(json!({"allow":true,"user":"ann","channels":["news"]})).await;
    let (_place, config) = documented("Session cookies");
    let config = config
        .replace("https://app.example/hub", &format!("{backend}/hub"))
        .replace("headers = [", "allow_private = true\nheaders = [");
    let hub = Hub::configured(&config);
    let page = [("cookie", "sid=1"), ("origin", "https://app.example")];
    let mut ann = Client::connect(hub.address, "", &page).await;
    assert_eq!(ann.json().await["channel"], "news");
    assert_eq!(ann.ask(&subscribe("orders.7")).await["type"], "subscribed");
    assert_eq!(ann.ask(&subscribe("other")).await["code"], "forbidden");
    let foreign = [("cookie", "sid=1"), ("origin", "https://evil.example")];
    assert!(Client::attempt(hub.address, "", &foreign).await.is_err());
}
