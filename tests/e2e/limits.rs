//! Limits that hold for everybody: each refusal names its setting, is counted, and ends with its
//! cause.

use std::fs;

use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Duration, sleep},
};

use crate::{
    client::{Client, answer, ask, http, publish},
    hub::{Directory, Hub, directory},
};

/// Returns how many refusals of a limit are counted.
async fn refused(hub: &Hub, limit: &str) -> u64 {
    let (_, text) = http(hub.address, "GET /metrics", "").await;
    let line = format!("hubplane_limited_total{{limit=\"{limit}\"}} ");
    let count = text.lines().find_map(|it| it.strip_prefix(&line));
    count.expect(limit).parse().unwrap()
}

/// Tries until a client is let in: the hub takes notice of an end a little later.
async fn until_let_in(hub: &Hub, headers: &[(&'static str, &str)]) -> Client {
    for _ in 0..400 {
        if let Ok(client) = Client::attempt(hub.address, "", headers).await {
            return client;
        }
        sleep(Duration::from_millis(25)).await;
    }
    panic!("nobody is let in any more");
}

/// Loopback is limited, too, by what is set alone.
#[tokio::test]
async fn an_address_has_so_many_connections() {
    let hub = Hub::configured("[limits]\naddress_connections = 3\n");
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(hub.address, "", &[]).await);
    }
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let request = b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (status, body) = answer(&mut stream).await;
    assert_eq!(status, 429, "{body}");
    assert!(body.contains("address_connections"), "{body}");
    // What a client says of itself changes nothing.
    let spoofed = [("x-forwarded-for", "192.0.2.1")];
    assert!(Client::attempt(hub.address, "", &spoofed).await.is_err());
    clients.pop();
    clients.push(until_let_in(&hub, &[]).await);
    clients.pop();
    clients.pop();
    drop(until_let_in(&hub, &[]).await);
    until_let_in(&hub, &[]).await;
    clients.clear();
    assert!(refused(&hub, "address_connections").await >= 2);
}

#[tokio::test]
async fn an_address_connects_so_often() {
    let hub = Hub::configured("[limits]\naddress_handshakes_per_second = 2\n");
    let mut refusals = 0;
    for _ in 0..30 {
        let (status, body) = http(hub.address, "GET /live", "").await;
        if status != 200 {
            assert_eq!(status, 429, "{body}");
            assert!(body.contains("address_handshakes_per_second"), "{body}");
            refusals += 1;
        }
    }
    assert!(refusals >= 10, "{refusals}");
    until_let_in(&hub, &[]).await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_counts_for_itself() {
    let place = directory("proxy");
    let file = place.join("hub.toml");
    fs::write(
        &file,
        "trust_proxy = [\"127.0.0.0/8\"]\n[limits]\naddress_connections = 1\n",
    )
    .unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]);
    let from = |address: &'static str| [("x-forwarded-for", address)];
    let ann = Client::connect(hub.address, "", &from("192.0.2.1")).await;
    let _bob = Client::connect(hub.address, "", &from("192.0.2.2")).await;
    // What ann writes stands to the left of what the proxy adds.
    for spoofed in ["192.0.2.1", "192.0.2.9, 192.0.2.1", "192.0.2.1, 127.0.0.1"] {
        let refused = Client::attempt(hub.address, "", &from(spoofed)).await;
        let error = refused.err().expect(spoofed).to_string();
        assert!(error.contains("429"), "{error}");
        let header = format!("x-forwarded-for: {spoofed}\r\n");
        let (status, problem) = ask(hub.address, "GET /live", &header, "").await;
        assert_eq!(status, 429, "{problem}");
        assert_eq!(problem["limit"], "address_connections");
    }
    let networks = ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"];
    let _first = Client::connect(hub.address, "", &from(networks[0])).await;
    assert!(
        Client::attempt(hub.address, "", &from(networks[1]))
            .await
            .is_err()
    );
    let _other = Client::connect(hub.address, "", &from(networks[2])).await;
    drop(ann);
    until_let_in(&hub, &from("192.0.2.1")).await;
}

/// A hub with rules, and a key that may do some things.
fn with_rules(limits: &str) -> (Hub, Directory, String) {
    let place = directory("limits");
    let (secret, file) = (place.join("key"), place.join("hub.toml"));
    let key = "k".repeat(40);
    fs::write(&secret, &key).unwrap();
    let config = format!(
        "[[key]]\nname = \"shop\"\nkey = \"file:{}\"\nallow = [\"publish\", \"subscribe\", \"metrics\"]\nchannels = [\"*\"]\n\
         [[channel]]\nmatch = \"rated.*\"\npublish_rate = \"2/h\"\nmessage_bytes = 5\n\
         allow = {{ anonymous = [\"publish\", \"subscribe\"] }}\n\
         [[channel]]\nmatch = \"*\"\nallow = {{ anonymous = [\"publish\", \"subscribe\"] }}\n\
         [limits]\n{limits}\n",
        secret.display()
    );
    fs::write(&file, config).unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]);
    (hub, place, format!("authorization: Bearer {key}\r\n"))
}

#[tokio::test]
async fn what_a_rule_says_of_messages_holds_on_sockets_and_over_http() {
    let (hub, _place, key) = with_rules("");
    let command =
        |data: &str| format!(r#"{{"type":"publish","channel":"rated.a","data":"{data}"}}"#);
    let mut client = Client::connect(hub.address, "", &[]).await;
    let long = client.ask(&command("1234")).await;
    assert_eq!(long["code"], "limit_reached");
    assert!(long["message"].as_str().unwrap().contains("message_bytes"));
    for _ in 0..2 {
        assert_eq!(client.ask(&command("12")).await["type"], "published");
    }
    let often = client.ask(&command("12")).await;
    assert_eq!(often["code"], "limit_reached");
    let message = often["message"].as_str().unwrap();
    assert!(
        message.contains("publish_rate is reached; try again in 1"),
        "{message}"
    );
    let body = |data: &str| json!({"channel":"rated.a","data":data}).to_string();
    let batch = json!({"messages":[
        {"channel":"free","data":1},{"channel":"rated.a","data":"1234"},
    ]});
    for (headers, body, index) in [("", body("1234"), 0), (&*key, batch.to_string(), 1)] {
        let (status, problem) = publish(hub.address, headers, &body).await;
        assert_eq!(
            (status, &problem["index"]),
            (413, &json!(index)),
            "{problem}"
        );
    }
    // An address is counted apart from the session, and a batch as a whole.
    assert_eq!(publish(hub.address, "", &body("12")).await.0, 200);
    let two = json!({"messages":[
        {"channel":"rated.a","data":1},{"channel":"rated.a","data":2},
    ]});
    let (status, problem) = publish(hub.address, "", &two.to_string()).await;
    assert_eq!((status, &problem["index"]), (429, &json!(1)), "{problem}");
    assert_eq!(publish(hub.address, "", &body("12")).await.0, 200);
    let (status, problem) = publish(hub.address, "", &body("12")).await;
    assert_eq!((status, &problem["limit"]), (429, &json!("publish_rate")));
    // A key speaks for many.
    for _ in 0..4 {
        assert_eq!(publish(hub.address, &key, &body("12")).await.0, 200);
    }
}

#[tokio::test]
async fn keys_and_addresses_ask_so_often_over_http() {
    let (hub, _place, key) = with_rules("key_requests_per_second = 1\nkey_requests_burst = 3");
    for headers in ["", &key] {
        let mut answers = Vec::new();
        for _ in 0..8 {
            let body = r#"{"channel":"free","data":1}"#;
            answers.push(publish(hub.address, headers, body).await);
        }
        let all = answers.iter();
        let limited: Vec<_> = all.filter(|it| it.0 == 429).collect();
        assert!((2..=5).contains(&limited.len()), "{answers:?}");
        assert_eq!(limited[0].1["limit"], "key_requests_per_second");
    }
    let request = "GET /v1/channels/free/presence";
    assert_eq!(http(hub.address, request, "").await.0, 429);
    // Others are not concerned.
    assert_eq!(http(hub.address, "GET /live", "").await.0, 200);
}

#[tokio::test]
async fn a_session_asks_so_often() {
    let limits = "session_publishes_burst = 3\nsession_subscribes_burst = 3";
    let (hub, _place, _) = with_rules(limits);
    let mut client = Client::connect(hub.address, "", &[]).await;
    for (command, limit) in [
        (
            r#"{"type":"publish","channel":"a","data":1}"#,
            "session_publishes_per_second",
        ),
        (
            r#"{"type":"subscribe","channel":"a"}"#,
            "session_subscribes_per_second",
        ),
    ] {
        for _ in 0..20 {
            client.send(command).await;
        }
        let mut limited = Vec::new();
        for _ in 0..20 {
            let answer = client.json().await;
            if answer["code"] == "limit_reached" {
                limited.push(answer["message"].to_string());
            }
        }
        assert!(limited.len() >= 10, "{limited:?}");
        assert!(limited.iter().all(|it| it.contains(limit)), "{limited:?}");
    }
}
