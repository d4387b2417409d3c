//! The native protocol and HTTP, as documented.

use std::fs;

use serde_json::json;

use crate::{
    client::{Client, http, publish},
    hub::{Hub, directory},
};

#[tokio::test]
async fn a_client_subscribes_publishes_and_leaves() {
    let hub = Hub::memory();
    let mut client = Client::connect(hub.address, "", &[]).await;
    let subscribed = client
        .ask(r#"{"type":"subscribe","ref":1,"channel":"jobs.42"}"#)
        .await;
    let position = subscribed["position"].as_str().unwrap().to_owned();
    assert_eq!(
        subscribed,
        json!({"type":"subscribed","ref":1,"channel":"jobs.42","position":position,"recovered":false})
    );
    // A position is one of the log, so it is good for a channel that was silent since then.
    let again = format!(r#"{{"type":"subscribe","ref":2,"channel":"other","since":"{position}"}}"#);
    assert_eq!(
        client.ask(&again).await["recovered"],
        true,
        "nothing was missed since then"
    );

    client
        .send(r#"{"type":"publish","ref":"p","channel":"jobs.42","data":{"step":1}}"#)
        .await;
    // The answer and the message come from two sides, and in either order.
    let (first, second) = (client.json().await, client.json().await);
    let (published, message) = if first["type"] == "published" {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(
        published,
        json!({"type":"published","ref":"p","position":message["position"]})
    );
    assert_eq!(
        (&message["type"], &message["data"]),
        (&json!("message"), &json!({"step":1}))
    );
    // The hub gives an id to a message that has none.
    assert!(message["id"].is_string());

    let gone = client
        .ask(r#"{"type":"unsubscribe","ref":3,"channel":"jobs.42"}"#)
        .await;
    assert_eq!(
        gone,
        json!({"type":"unsubscribed","ref":3,"channel":"jobs.42"})
    );
    // Published after the leave; the pong below comes instead of it.
    assert_eq!(
        publish(hub.address, "", r#"{"channel":"jobs.42","data":2}"#)
            .await
            .0,
        200
    );
    assert_eq!(
        client.ask(r#"{"type":"ping"}"#).await,
        json!({"type":"pong"}),
        "no message after the unsubscribe"
    );
}

/// What comes too fast is replaced by the newest, and `/metrics` counts it.
#[tokio::test]
async fn a_client_is_given_as_many_messages_a_second_as_it_wants() {
    let hub = Hub::memory();
    let mut client = Client::connect(hub.address, "", &[]).await;
    let refused = client
        .ask(r#"{"type":"subscribe","ref":1,"channel":"c","max_rate":1001}"#)
        .await;
    assert_eq!(
        (&refused["code"], &refused["ref"]),
        (&json!("malformed"), &json!(1))
    );
    client
        .ask(r#"{"type":"subscribe","ref":2,"channel":"c","max_rate":2}"#)
        .await;
    let messages = (1..=20).map(|it| json!({"channel":"c","data":it}));
    let body = json!({"messages": messages.collect::<Vec<_>>()}).to_string();
    assert_eq!(publish(hub.address, "", &body).await.0, 200);
    let mut got = vec![client.json().await["data"].as_u64().unwrap()];
    while got.last() != Some(&20) {
        got.push(client.json().await["data"].as_u64().unwrap());
    }
    assert_eq!((got[0], got.is_sorted()), (1, true), "{got:?}");
    assert!(got.len() < 20, "{got:?}");
    let skipped = 20 - got.len();
    let line = format!("hubplane_skipped_total{{rule=\"max_rate\"}} {skipped}\n");
    let metrics = http(hub.address, "GET /metrics", "").await.1;
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test]
async fn errors_name_what_is_wrong_and_the_session_goes_on() {
    let hub = Hub::memory();
    let mut client = Client::connect(hub.address, "", &[]).await;
    // Each is answered with its `ref` and a code that programs may rely on.
    for (text, code) in [
        (
            r#"{"type":"subscribe","ref":9,"channel":""}"#,
            "bad_channel",
        ),
        (
            r#"{"type":"subscribe","ref":9,"channel":"$hubplane/x"}"#,
            "bad_channel",
        ),
        (
            r#"{"type":"subscribe","ref":9,"channel":"a b"}"#,
            "bad_channel",
        ),
        (
            r#"{"type":"unsubscribe","ref":9,"channel":"x"}"#,
            "not_subscribed",
        ),
        (r#"{"type":"publish","ref":9,"channel":"x"}"#, "malformed"),
        (
            r#"{"type":"subscribe","ref":9,"channel":"x","since":"y"}"#,
            "malformed",
        ),
        (r#"{"type":"dance","ref":9}"#, "malformed"),
    ] {
        let error = client.ask(text).await;
        assert_eq!(
            (&error["type"], &error["ref"], &error["code"]),
            (&json!("error"), &json!(9), &json!(code))
        );
    }
    // 128 is the limit of a session; the next one is refused, and the session goes on.
    for n in 0..128 {
        let text = format!(r#"{{"type":"subscribe","channel":"c.{n}"}}"#);
        assert_eq!(client.ask(&text).await["type"], "subscribed");
    }
    assert_eq!(
        client
            .ask(r#"{"type":"subscribe","channel":"one.more"}"#)
            .await["code"],
        "limit_reached"
    );
    assert_eq!(client.ask(r#"{"type":"ping"}"#).await["type"], "pong");
}

#[tokio::test]
async fn listeners_subscribe_by_the_query_and_get_data_as_it_is() {
    let hub = Hub::memory();
    // Of several subprotocols the hub chooses the one that it knows (RFC 6455, section 4.2.2).
    let protocol = [("sec-websocket-protocol", "other, hubplane.v1.json")];
    let mut client = Client::connect(hub.address, "?channel=a&channel=b%2Fc", &protocol).await;
    let channels = [
        client.json().await["channel"].clone(),
        client.json().await["channel"].clone(),
    ];
    assert_eq!(channels, [json!("a"), json!("b/c")]);
    // A batch to two channels, of text, a list and null.
    let body = r#"{"messages":[{"channel":"a","data":"text"},{"channel":"b/c","data":[1, null]},{"channel":"a","data":null}]}"#;
    let (status, list) = publish(hub.address, "", body).await;
    assert_eq!((status, list.as_array().unwrap().len()), (200, 3));
    for data in [json!("text"), json!([1, null]), json!(null)] {
        assert_eq!(client.json().await["data"], data);
    }
}

#[tokio::test]
async fn http_refuses_with_problem_documents() {
    let hub = Hub::memory();
    let at = hub.address;
    assert_eq!(http(at, "GET /live", "").await.0, 200);
    assert_eq!(http(at, "GET /ready", "").await.0, 200);
    assert!(
        http(at, "GET /metrics", "")
            .await
            .1
            .contains("hubplane_sessions 0")
    );
    assert_eq!(http(at, "GET /nothing", "").await.0, 404);
    assert_eq!(http(at, "GET /v1/publish", "").await.0, 405);
    // 426: the path is for WebSockets only (RFC 9110, section 15.5.22).
    assert_eq!(http(at, "GET /ws", "").await.0, 426);
    assert_eq!(http(at, "POST /v1/publish", "{}").await.0, 415);
    for body in [
        "",
        "{",
        "{}",
        r#"{"channel":"a"}"#,
        r#"{"channel":"","data":1}"#,
        r#"{"channel":"a","data":1,"x":1}"#,
    ] {
        let (status, problem) = publish(at, "", body).await;
        assert_eq!((status, &problem["status"]), (400, &json!(400)), "{body}");
        assert!(problem["detail"].is_string() && problem["title"].is_string());
    }
    // A page of a foreign origin could otherwise publish by its visitor's browser.
    assert_eq!(
        publish(
            at,
            "origin: https://evil.example\r\n",
            r#"{"channel":"a","data":1}"#
        )
        .await
        .0,
        403
    );
    let backplane = http(at, "GET /v1/backplane", "").await.1;
    let backplane: serde_json::Value = serde_json::from_str(&backplane).unwrap();
    assert_eq!(
        (&backplane["driver"], &backplane["state"]),
        (&json!("memory"), &json!("up"))
    );
    assert_eq!(backplane["capabilities"]["order"], "per_channel");
}

#[tokio::test]
async fn origins_of_foreign_pages_are_kept_out() {
    let hub = Hub::start(&["--origin", "https://app.example"]);
    let origin = |origin| [("origin", origin)];
    assert!(
        Client::attempt(hub.address, "", &origin("https://app.example"))
            .await
            .is_ok()
    );
    assert!(
        Client::attempt(hub.address, "", &origin("https://evil.example"))
            .await
            .is_err()
    );
    // Without --origin, pages of the hub's own host may connect, and no others.
    let own = Hub::memory();
    let own_url = own.url();
    assert!(
        Client::attempt(own.address, "", &origin(&own_url))
            .await
            .is_ok()
    );
    assert!(
        Client::attempt(own.address, "", &origin("http://127.0.0.1:1"))
            .await
            .is_err()
    );
    // "null" is the origin of a page that hides it.
    assert!(
        Client::attempt(own.address, "", &origin("null"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn publishing_needs_the_key_where_there_is_one() {
    let key = "k".repeat(40);
    let place = directory("key");
    let file = place.join("key");
    // A line end behind the key, as editors leave it.
    fs::write(&file, format!("{key}\n")).unwrap();
    let file = file.to_str().unwrap();
    let hub = Hub::start(&["--key-file", file, "--anonymous", "subscribe"]);
    let body = r#"{"channel":"a","data":1}"#;
    let none = publish(hub.address, "", body).await;
    // The answer must not tell whether there was a key at all.
    let wrong = publish(hub.address, "authorization: Bearer wrong\r\n", body).await;
    assert_eq!(
        (none.0, &none),
        (401, &wrong),
        "no key and a wrong one are answered alike"
    );
    assert_eq!(
        publish(
            hub.address,
            &format!("authorization: Bearer {key}\r\n"),
            body
        )
        .await
        .0,
        200
    );
    assert_eq!(http(hub.address, "GET /metrics", "").await.0, 401);

    let mut client = Client::connect(hub.address, "?channel=a", &[]).await;
    assert_eq!(
        client.json().await["type"],
        "subscribed",
        "listening needs no key where --anonymous says so"
    );
    assert_eq!(
        client
            .ask(r#"{"type":"publish","channel":"a","data":1}"#)
            .await["code"],
        "forbidden"
    );
    // The same header lets a WebSocket publish.
    let bearer = format!("Bearer {key}");
    let mut client = Client::connect(hub.address, "", &[("authorization", &bearer)]).await;
    assert_eq!(
        client
            .ask(r#"{"type":"publish","channel":"a","data":1}"#)
            .await["type"],
        "published"
    );
    assert!(
        Client::attempt(hub.address, "", &[("authorization", "Bearer wrong")])
            .await
            .is_err()
    );
    // Secrets never stand in a log.
    assert!(!hub.log().contains(&key));
}
