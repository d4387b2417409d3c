//! How the client shows a token and renews it.

use std::{
    future::{Ready, ready},
    sync::Mutex,
};

use super::*;

impl Played {
    /// Hears an `auth`, and tells its token and its `ref`.
    async fn proof(&mut self) -> (String, Value) {
        let asked = self.hear().await;
        assert_eq!(asked["type"], "auth", "{asked}");
        let token = asked["token"].as_str().unwrap().to_owned();
        (token, asked["ref"].clone())
    }

    async fn authenticate(&mut self) -> String {
        let (token, reference) = self.proof().await;
        self.say(json!({ "type": "authenticated", "ref": reference, "expires_in": 60 }))
            .await;
        token
    }

    async fn refuse(&mut self, code: &str) -> String {
        let (token, reference) = self.proof().await;
        self.say(
            json!({ "type": "error", "ref": reference, "code": code, "message": "it has expired" }),
        )
        .await;
        token
    }

    async fn expiring(&mut self) {
        self.say(json!({ "type": "expiring", "expires_in": 25 }))
            .await;
    }

    async fn ends(&mut self) {
        let end = timeout(SOON, self.0.next()).await.unwrap();
        assert!(
            matches!(end, Some(Ok(tungstenite::Message::Close(_)))),
            "{end:?}"
        );
    }
}

/// A function that gives these answers, one after the other; an empty one is an error.
fn answers<const N: usize>(
    all: [&'static str; N],
) -> impl Fn() -> Ready<Result<String, String>> + use<N> {
    let mut all = all.into_iter();
    let next = move || match all.next() {
        Some("") => Err("away".to_owned()),
        Some(token) => Ok(token.to_owned()),
        None => panic!("not asked for another one"),
    };
    let next = Mutex::new(next);
    move || ready((next.lock().unwrap())())
}

async fn client(
    hub: &Hub,
    fetch: impl Fn() -> Ready<Result<String, String>> + Send + Sync + 'static,
) -> (Client, Events, Played) {
    hub.client(hub.options().token(fetch)).await
}

#[tokio::test]
async fn it_shows_a_token_before_all_else_and_a_new_one_on_each_connection() {
    let hub = Hub::new().await;
    let (client, mut events, mut first) = client(&hub, answers(["t1", "", "t2", "t3"])).await;
    client.subscribe("c", None).await.unwrap();
    let publish = client.publish("p", &1, None);
    let play = async {
        let (token, reference) = first.proof().await;
        assert_eq!(token, "t1");
        // The answer to something else is none.
        first
            .say(json!({ "type": "authenticated", "ref": 999 }))
            .await;
        first
            .say(json!({ "type": "authenticated", "ref": reference }))
            .await;
        first.accept("e-0-0", false).await;
        assert_eq!(first.hear().await["type"], "publish");
        first.close(3013).await;
        let mut second = hub.accept().await;
        assert_eq!(second.authenticate().await, "t2");
        assert_eq!(second.accept("e-0-1", true).await["since"], "e-0-0");
        let sent = second.hear().await;
        second
            .say(json!({ "type": "published", "ref": sent["ref"], "position": "e-0-1" }))
            .await;
        second
    };
    let (published, second) = tokio::join!(publish, play);
    published.unwrap();
    drop(second);
    assert_eq!(hub.accept().await.authenticate().await, "t3");
    for expected in ["subscribed false", "down", "up", "subscribed true"] {
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test]
async fn it_renews_a_token_without_a_break() {
    let hub = Hub::new().await;
    // An error and the same token again are no new token.
    let (client, mut events, mut played) = client(&hub, answers(["t1", "", "t1", "t2"])).await;
    client.subscribe("c", None).await.unwrap();
    assert_eq!(played.authenticate().await, "t1");
    played.accept("e-0-0", false).await;
    played.expiring().await;
    played.say(message(1)).await;
    assert_eq!(played.authenticate().await, "t2");
    played.say(message(2)).await;
    for expected in ["subscribed false", "1", "2"] {
        assert_eq!(next(&mut events).await, expected);
    }
    client.subscribe("d", None).await.unwrap();
    assert_eq!(played.hear().await["channel"], "d", "nothing came between");
}

#[tokio::test]
async fn a_second_refusal_is_the_end() {
    let hub = Hub::new().await;
    let tokens = answers(["t1", "", "t2", "t3", "t4"]);
    let (client, mut events, mut played) = client(&hub, tokens).await;
    assert_eq!(played.refuse("unauthorized").await, "t1");
    assert_eq!(played.authenticate().await, "t2");
    played.expiring().await;
    assert_eq!(played.refuse("unauthorized").await, "t3");
    assert_eq!(played.refuse("unauthorized").await, "t4");
    played.ends().await;
    let event = events.next().await;
    assert!(
        matches!(&event, Some(Event::Unauthorized { code, message })
            if &**code == "unauthorized" && &**message == "it has expired"),
        "{event:?}"
    );
    assert!(events.next().await.is_none());
    let late = client.publish("c", &1, None).await;
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
}

#[tokio::test]
async fn the_same_token_again_is_shown_only_where_it_could_not_be_checked() {
    let hub = Hub::new().await;
    let (_client, mut events, mut played) = client(&hub, answers(["t1", "t1", "t1"])).await;
    assert_eq!(played.refuse("unavailable").await, "t1");
    assert_eq!(played.refuse("unauthorized").await, "t1");
    played.ends().await;
    assert_eq!(next(&mut events).await, "unauthorized");
}

#[tokio::test]
async fn a_fixed_token_has_no_successor() {
    let hub = Hub::new().await;
    let options = hub.options().fixed_token("secret-7");
    assert!(!format!("{options:?}").contains("secret-7"));
    let (_client, mut events, mut first) = hub.client(options).await;
    assert_eq!(first.authenticate().await, "secret-7");
    first.expiring().await;
    first.close(3013).await;
    let mut second = hub.accept().await;
    assert_eq!(second.refuse("unauthorized").await, "secret-7");
    second.ends().await;
    for expected in ["down", "up", "unauthorized"] {
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test]
async fn without_a_first_token_it_does_not_connect_and_a_hub_that_does_not_answer_is_left() {
    let hub = Hub::new().await;
    let failed = Client::connect(hub.options().token(answers([""]))).await;
    assert!(matches!(failed, Err(Error::Token(reason)) if reason == "away"));
    let mut options = hub.options().fixed_token("t");
    options.connect_timeout = Duration::from_millis(50);
    let hangs = options
        .clone()
        .token(std::future::pending::<Result<String, String>>);
    let failed = Client::connect(hangs).await;
    assert!(matches!(failed, Err(Error::Token(reason)) if reason.contains("50ms")));
    let (_client, mut events, mut first) = hub.client(options).await;
    first.proof().await;
    assert_eq!(next(&mut events).await, "down");
    hub.accept().await.proof().await;
}

#[tokio::test]
async fn a_token_for_less_ends_a_subscription_with_its_reason_and_an_operator_ends_it_all() {
    let hub = Hub::new().await;
    let (client, mut events, mut played) = client(&hub, answers(["t1"])).await;
    client.subscribe("c", None).await.unwrap();
    played.authenticate().await;
    played.accept("e-0-0", false).await;
    played
        .say(json!({ "type": "error", "code": "forbidden", "message": "not with this token" }))
        .await;
    played
        .say(json!({ "type": "unsubscribed", "channel": "c" }))
        .await;
    played.close(3500).await;
    for expected in ["subscribed false", "refused forbidden"] {
        assert_eq!(next(&mut events).await, expected);
    }
    let event = events.next().await;
    assert!(
        matches!(&event, Some(Event::Ended { reason }) if reason.contains("played")),
        "{event:?}"
    );
}
