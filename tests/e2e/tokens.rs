//! Users with signed tokens: what a token allows, how it is shown, how it ends, and how it is taken
//! away on all hubs.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use hubplane_conformance::required;
use hubplane_identity::token::SigningKey;
use serde_json::{Value, json};

use crate::{
    client::{Client, ask},
    hub::{Directory, Hub, directory, unique},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ADMIN: &str = "an admin's key of more than thirty-two bytes";

/// A folder with the keys, and the configuration that names them.
struct Issuer {
    place: Directory,
    config: String,
}

fn issuer(rules: &str) -> Issuer {
    let place = directory("tokens");
    fs::write(place.join("secret"), SECRET).unwrap();
    fs::write(place.join("admin"), ADMIN).unwrap();
    let at = place.display();
    let config = format!(
        "[[token]]\nkey = \"file:{at}/secret\"\nissuer = \"login\"\naudience = \"hub\"\n\
         [[key]]\nname = \"operator\"\nkey = \"file:{at}/admin\"\nallow = [\"admin\", \"publish\"]\n{rules}"
    );
    Issuer { place, config }
}

impl Issuer {
    fn hub(&self, backplane: &str) -> Hub {
        let file = self.place.join("hub.toml");
        fs::write(&file, &self.config).unwrap();
        let file = file.to_str().unwrap();
        Hub::start(&["--config", file, "--backplane", backplane])
    }
}

/// A token for so many seconds; `own` are the hub's claims.
fn token(user: &str, id: &str, seconds: u64, own: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let claims = json!({
        "iss": "login", "aud": "hub", "sub": user, "jti": id,
        "exp": now.unwrap().as_secs() + seconds, "hubplane": own,
    });
    SigningKey::new(SECRET)
        .unwrap()
        .sign(&claims.to_string())
        .unwrap()
}

fn listening(channels: &[&str]) -> Value {
    json!({"permissions": [{"channels": channels, "allow": ["subscribe", "history", "presence"]}]})
}

fn bearer(proof: &str) -> String {
    format!("authorization: Bearer {proof}\r\n")
}

async fn with(hub: &Hub, proof: &str) -> Client {
    let value = format!("Bearer {proof}");
    Client::connect(hub.address, "", &[("authorization", &*value)]).await
}

fn subscribe(channel: &str) -> String {
    json!({"type":"subscribe","channel":channel}).to_string()
}

fn auth(token: &str) -> String {
    json!({"type":"auth","ref":1,"token":token}).to_string()
}

#[tokio::test]
async fn a_token_opens_its_channels_over_websocket_and_http() {
    let issuer = issuer("");
    let hub = issuer.hub("memory:");
    let ann = token("ann", "t1", 60, &listening(&["orders.*"]));
    let mut client = with(&hub, &ann).await;
    assert_eq!(
        client.ask(&subscribe("orders.7")).await["type"],
        "subscribed"
    );
    assert_eq!(client.ask(&subscribe("news")).await["code"], "forbidden");
    let publish = json!({"type":"publish","channel":"orders.7","data":1}).to_string();
    assert_eq!(client.ask(&publish).await["code"], "forbidden");
    for (channel, status) in [("orders.7", 200), ("news", 403)] {
        for verb in ["history", "presence"] {
            let target = format!("GET /v1/channels/{channel}/{verb}");
            let answer = ask(hub.address, &target, &bearer(&ann), "").await;
            assert_eq!(answer.0, status, "{target}: {answer:?}");
        }
    }
    // Nothing shown, nothing allowed; and what is wrong is said, without what was shown.
    let mut nobody = Client::connect(hub.address, "", &[]).await;
    assert_eq!(
        nobody.ask(&subscribe("orders.7")).await["code"],
        "forbidden"
    );
    let late = token("ann", "t1", 0, &json!({})).replace('.', "x");
    let answer = nobody.ask(&auth(&late)).await;
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!("unauthorized"))
    );
    assert!(!answer.to_string().contains(&late), "{answer}");
    assert!(!hub.log().contains(&ann) && !hub.log().contains(SECRET));
}

#[tokio::test]
async fn a_browser_shows_its_token_first_and_a_new_one_before_it_ends() {
    let issuer = issuer("");
    let hub = issuer.hub("memory:");
    let mut client = Client::connect(hub.address, "", &[]).await;
    let joined = json!({
        "permissions": [{"channels": ["a", "b"], "allow": ["subscribe"]}], "channels": ["a"],
    });
    let answer = client.ask(&auth(&token("ann", "t1", 5, &joined))).await;
    assert_eq!(
        (&answer["type"], &answer["user"]),
        (&json!("authenticated"), &json!("ann"))
    );
    // Ten seconds more than the token says: clocks may be apart by as much.
    assert!(
        (10..=15).contains(&answer["expires_in"].as_u64().unwrap()),
        "{answer}"
    );
    assert_eq!(client.json().await["channel"], "a", "joined at once");
    assert_eq!(client.json().await["type"], "expiring");
    assert_eq!(client.ask(&subscribe("b")).await["type"], "subscribed");
    // The new one allows less.
    let less = token("ann", "t2", 600, &listening(&["b"]));
    assert_eq!(client.ask(&auth(&less)).await["type"], "authenticated");
    assert_eq!(client.json().await["code"], "forbidden");
    let gone = client.json().await;
    assert_eq!(
        (&gone["type"], &gone["channel"]),
        (&json!("unsubscribed"), &json!("a"))
    );
    let body = r#"{"messages":[{"channel":"a","data":1},{"channel":"b","data":2}]}"#;
    assert_eq!(
        ask(hub.address, "POST /v1/publish", &bearer(ADMIN), body)
            .await
            .0,
        200
    );
    assert_eq!(client.json().await["data"], 2);
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let issuer = issuer("");
    let hub = issuer.hub("memory:");
    // Over for three seconds, so it has seven more.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let claims = json!({"iss":"login","aud":"hub","sub":"ann","exp":now.unwrap().as_secs() - 7});
    let short = SigningKey::new(SECRET).unwrap();
    let mut client = with(&hub, &short.sign(&claims.to_string()).unwrap()).await;
    assert_eq!(client.close_code().await, 3013);
}

#[tokio::test]
async fn what_presence_shows_of_a_user_is_verified() {
    let issuer = issuer("");
    let hub = issuer.hub("memory:");
    let mut own = listening(&["room"]);
    own["info"] = json!({"name":"Ann"});
    let mut client = with(&hub, &token("ann", "t1", 60, &own)).await;
    let join = json!({
        "type":"subscribe","channel":"room",
        "presence":{"client":"c-1","user":"root","info":{"role":"admin"},"watch":true},
    });
    assert_eq!(client.ask(&join.to_string()).await["type"], "subscribed");
    assert_eq!(
        client.json().await,
        json!({"type":"join","channel":"room","client":"c-1","user":"ann","info":{"name":"Ann"},"verified":true})
    );
}

#[tokio::test]
async fn a_rule_speaks_of_the_user_that_the_token_names() {
    let issuer = issuer(
        "[[channel]]\nmatch = \"user.{sub}.*\"\nallow = { token = [\"subscribe\", \"publish\"] }\nmessage_bytes = 100\n",
    );
    let hub = issuer.hub("memory:");
    for (user, channel, wanted) in [
        ("ann", "user.ann.jobs", "subscribed"),
        ("ann", "user.bob.jobs", "error"),
        ("bob", "user.bob.jobs", "subscribed"),
        ("*", "user.ann.jobs", "error"),
        ("ann.x", "user.ann.x.jobs", "error"),
    ] {
        let mut client = with(&hub, &token(user, "t", 60, &json!({}))).await;
        let answer = client.ask(&subscribe(channel)).await;
        assert_eq!(answer["type"], wanted, "{user} {channel}: {answer}");
    }
}

/// A token that is revoked at one hub is of no use at another within a second.
async fn revoked(backplane: &str) {
    let issuer = issuer("");
    let (one, other) = (issuer.hub(backplane), issuer.hub(backplane));
    let shown = token("ann", "t-17", 60, &listening(&["c"]));
    let mut client = with(&other, &shown).await;
    assert_eq!(client.ask(&subscribe("c")).await["type"], "subscribed");
    let bob = token("bob", "t-18", 60, &listening(&["c"]));
    let mut stays = with(&other, &bob).await;
    let known = ask(
        one.address,
        "GET /v1/users/ann/connections",
        &bearer(ADMIN),
        "",
    )
    .await;
    assert_eq!(known.1["connections"][0]["subscriptions"], 1, "{known:?}");
    assert_eq!(
        known.1["connections"].as_array().unwrap().len(),
        1,
        "{known:?}"
    );
    let order = r#"{"token_id":"t-17","reason":"signed out","refused_for":60}"#;
    let answer = ask(one.address, "POST /v1/disconnect", &bearer(ADMIN), order).await;
    assert_eq!(answer.0, 202, "{answer:?}");
    let ended = tokio::time::timeout(Duration::from_secs(1), client.close_code()).await;
    assert_eq!(ended.expect("within a second"), 3500);
    for hub in [&one, &other] {
        let answer = ask(
            hub.address,
            "GET /v1/channels/c/presence",
            &bearer(&shown),
            "",
        )
        .await;
        assert_eq!(answer.0, 401, "{answer:?}");
    }
    assert_eq!(stays.ask(&subscribe("c")).await["type"], "subscribed");
}

#[tokio::test]
async fn a_token_is_revoked_on_all_hubs_on_redis() {
    let broker = required("HUBPLANE_TEST_REDIS");
    revoked(&format!("{broker}?prefix=e2e-{}:", unique())).await;
}

#[tokio::test]
async fn a_token_is_revoked_on_all_hubs_on_redis_streams() {
    let broker = required("HUBPLANE_TEST_REDIS").replace("redis://", "redis+streams://");
    revoked(&format!("{broker}?prefix=e2e-{}:&streams=1", unique())).await;
}

#[tokio::test]
async fn a_token_is_revoked_on_all_hubs_on_kafka() {
    let broker = required("HUBPLANE_TEST_KAFKA");
    revoked(&format!("{broker}?topic=e2e-{}", unique())).await;
}

#[tokio::test]
async fn a_token_is_revoked_on_all_hubs_on_rabbitmq() {
    let broker = required("HUBPLANE_TEST_RABBITMQ");
    revoked(&format!("{broker}?exchange=e2e-{}", unique())).await;
}

#[tokio::test]
async fn a_token_is_revoked_on_all_hubs_on_rabbitmq_streams() {
    let broker = required("HUBPLANE_TEST_RABBITMQ").replace("amqp://", "amqp+streams://");
    revoked(&format!("{broker}?exchange=e2e-{}", unique())).await;
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    let issuer = issuer("[limits]\nuser_connections = 2\n");
    let hub = issuer.hub("memory:");
    let token = |user| token(user, "t", 60, &listening(&["*"]));
    let mut ann = vec![
        with(&hub, &token("ann")).await,
        with(&hub, &token("ann")).await,
    ];
    let header = format!("Bearer {}", token("ann"));
    let third = Client::attempt(hub.address, "", &[("authorization", &*header)]).await;
    let error = third.err().unwrap().to_string();
    assert!(error.contains("429"), "{error}");
    // Whoever shows it later is one more; whoever shows it again is not.
    let mut late = Client::connect(hub.address, "", &[]).await;
    let refused = late.ask(&auth(&token("ann"))).await;
    assert_eq!(refused["code"], "limit_reached");
    let message = refused["message"].to_string();
    assert!(message.contains("user_connections"), "{message}");
    let again = ann[0].ask(&auth(&token("ann"))).await;
    assert_eq!(again["type"], "authenticated");
    assert_eq!(
        late.ask(&auth(&token("bob"))).await["type"],
        "authenticated"
    );
    ann.pop();
    for _ in 0..400 {
        let answer = late.ask(&auth(&token("ann"))).await;
        if answer["type"] == "authenticated" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the place of a session that has ended is free");
}
