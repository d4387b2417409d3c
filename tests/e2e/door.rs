//! Who may do what: named keys, rules for channels, and what is kept from those who show nothing.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::{Client, ask, http},
    hub::{Directory, Hub, directory},
};

/// A hub with a key for each of two tenants, one for its operator, and a rule for everybody.
struct Tenants {
    hub: Hub,
    _place: Directory,
}

/// A tenant's key.
fn key(name: &str) -> String {
    name.repeat(40)
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer {}\r\n", key(name))
}

fn tenants() -> Tenants {
    let place = directory("door");
    let mut config = String::new();
    for (name, allow, channels) in [
        (
            "a",
            r#"["subscribe","publish","history","presence"]"#,
            r#"["a.*"]"#,
        ),
        (
            "b",
            r#"["subscribe","publish","history","presence"]"#,
            r#"["b.*"]"#,
        ),
        ("o", r#"["admin"]"#, r#"["*"]"#),
    ] {
        let file = place.join(name);
        fs::write(&file, key(name)).unwrap();
        config += &format!(
            "[[key]]\nname = \"{name}\"\nkey = \"file:{}\"\nallow = {allow}\nchannels = {channels}\n",
            file.display()
        );
    }
    config += "[[channel]]\nmatch = \"open.*\"\nallow = { anonymous = [\"subscribe\"] }\n";
    let file = place.join("hub.toml");
    fs::write(&file, config).unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]);
    Tenants { hub, _place: place }
}

impl Tenants {
    /// Returns what a session of somebody is answered; nobody is the empty name.
    async fn ask(&self, who: &str, command: &str) -> Value {
        let bearer = format!("Bearer {}", key(who));
        let headers = [("authorization", &*bearer)];
        let headers = if who.is_empty() { &[][..] } else { &headers };
        Client::connect(self.hub.address, "", headers)
            .await
            .ask(command)
            .await
    }
}

/// Every verb of the protocol and of HTTP, by each tenant on both tenants' channels.
#[tokio::test]
async fn no_tenant_reaches_the_channels_of_the_other() {
    let tenants = tenants();
    let address = tenants.hub.address;
    let mut leaks = Vec::new();
    for who in ["a", "b", ""] {
        for whose in ["a", "b"] {
            let channel = format!("{whose}.orders");
            let wanted = who == whose;
            for command in [
                json!({"type":"subscribe","channel":channel}),
                json!({"type":"subscribe","channel":channel,"since":"cabefcba1beccd02-0-1-7d3a1"}),
                json!({"type":"subscribe","channel":channel,"presence":{"client":"c"}}),
                json!({"type":"publish","channel":channel,"data":1}),
                json!({"type":"presence","channel":channel}),
            ] {
                let answer = tenants.ask(who, &command.to_string()).await;
                let refused = answer["code"] == "forbidden";
                if refused == wanted {
                    leaks.push(format!("{who:?} {command}: {answer}"));
                }
            }
            let headers = match who {
                "" => String::new(),
                _ => bearer(who),
            };
            let one = format!(r#"{{"channel":"{channel}","data":1}}"#);
            let batch = format!(r#"{{"messages":[{{"channel":"{who}.x","data":1}},{one}]}}"#);
            let history = format!("GET /v1/channels/{channel}/history");
            let presence = format!("GET /v1/channels/{channel}/presence");
            let mut answers = Vec::new();
            for (target, body) in [
                ("POST /v1/publish", &*one),
                ("POST /v1/publish", &batch),
                (&history, ""),
                (&presence, ""),
            ] {
                let status = ask(address, target, &headers, body).await.0;
                answers.push((target.to_owned(), status));
            }
            for (verb, status) in answers {
                let refused = matches!(status, 401 | 403);
                if refused == wanted {
                    leaks.push(format!("{who:?} {verb} {channel}: {status}"));
                }
            }
        }
    }
    assert_eq!(leaks, Vec::<String>::new());
}

#[tokio::test]
async fn who_shows_nothing_may_do_what_a_rule_says_and_no_more() {
    let tenants = tenants();
    let open = tenants
        .ask("", r#"{"type":"subscribe","channel":"open.news"}"#)
        .await;
    assert_eq!(open["type"], "subscribed");
    let closed = tenants
        .ask("", r#"{"type":"publish","channel":"open.news","data":1}"#)
        .await;
    assert_eq!(closed["code"], "forbidden");
    // Those who may not operate the hub see neither its counts nor its broker.
    let address = tenants.hub.address;
    assert_eq!(http(address, "GET /metrics", "").await.0, 401);
    let order = r#"{"user":"ann"}"#;
    for (who, status) in [("a", 403), ("o", 202)] {
        let answer = ask(address, "POST /v1/disconnect", &bearer(who), order).await;
        assert_eq!(answer.0, status, "{answer:?}");
    }
}
