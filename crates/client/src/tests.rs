//! The client against a hub that a test plays.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, protocol::CloseFrame},
};

use super::*;

mod token;

const SOON: Duration = Duration::from_secs(5);

struct Hub(TcpListener);

impl Hub {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn options(&self) -> Options {
        let address: SocketAddr = self.0.local_addr().unwrap();
        let mut options = Options::new([format!("http://{address}")]);
        options.backoff.min = Duration::from_millis(1);
        options
    }

    async fn accept(&self) -> Played {
        let accepted = timeout(SOON, self.0.accept());
        let (stream, _) = accepted.await.expect("it connects").unwrap();
        // With the subprotocol that the client asks for, as it refuses an answer without.
        #[expect(clippy::result_large_err, reason = "the library's type")]
        let with = |_: &tungstenite::handshake::server::Request,
                    mut answer: tungstenite::handshake::server::Response| {
            let name = http::HeaderValue::from_static("hubplane.v1.json");
            answer
                .headers_mut()
                .insert(http::header::SEC_WEBSOCKET_PROTOCOL, name);
            Ok(answer)
        };
        Played(
            tokio_tungstenite::accept_hdr_async(stream, with)
                .await
                .unwrap(),
        )
    }

    async fn client(&self, options: Options) -> (Client, Events, Played) {
        let (client, played) = tokio::join!(Client::connect(options), self.accept());
        let (client, events) = client.unwrap();
        (client, events, played)
    }
}

struct Played(WebSocketStream<TcpStream>);

impl Played {
    async fn hear(&mut self) -> Value {
        let frame = timeout(SOON, self.0.next())
            .await
            .expect("it says something");
        serde_json::from_str(frame.unwrap().unwrap().to_text().unwrap()).unwrap()
    }

    async fn say(&mut self, frame: Value) {
        let frame = tungstenite::Message::text(frame.to_string());
        self.0.send(frame).await.unwrap();
    }

    /// Answers a subscribe, and tells what it said.
    async fn accept(&mut self, position: &str, recovered: bool) -> Value {
        let asked = self.hear().await;
        assert_eq!(asked["type"], "subscribe");
        self.say(
            json!({ "type": "subscribed", "ref": asked["ref"], "channel": asked["channel"],
            "position": position, "recovered": recovered }),
        )
        .await;
        asked
    }

    async fn close(mut self, code: u16) {
        let reason = "played".into();
        let code = code.into();
        self.0
            .close(Some(CloseFrame { code, reason }))
            .await
            .unwrap();
    }
}

async fn next(events: &mut Events) -> String {
    let event = timeout(SOON, events.next()).await.expect("something comes");
    match event.expect("not the end") {
        Event::Message(message) => message.data.get().to_owned(),
        Event::Gap { cause, .. } => format!("gap {cause}"),
        Event::Subscribed { recovered, .. } => format!("subscribed {recovered}"),
        Event::Join { member, .. } => format!("+{}", member.client),
        Event::Leave { member, .. } => format!("-{}", member.client),
        Event::Members(roster) => format!("of {}", roster.count),
        Event::Refused { code, .. } => format!("refused {code}"),
        Event::Down { .. } => "down".to_owned(),
        Event::Up => "up".to_owned(),
        Event::Unauthorized { code, .. } => code.into(),
        Event::Ended { .. } => "ended".to_owned(),
    }
}

fn message(n: u32) -> Value {
    json!({ "type": "message", "channel": "c", "data": n, "position": format!("e-0-{n}"), "id": format!("i{n}") })
}

#[tokio::test]
async fn a_subscription_that_the_hub_ends_is_gone_and_the_others_go_on() {
    let hub = Hub::new().await;
    let (client, mut events, mut first) = hub.client(hub.options()).await;
    client.subscribe("c", None).await.unwrap();
    first.accept("e-0-0", false).await;
    assert_eq!(next(&mut events).await, "subscribed false");
    first
        .say(json!({ "type": "error", "code": "rejected", "message": "c: forbidden" }))
        .await;
    first
        .say(json!({ "type": "unsubscribed", "channel": "c" }))
        .await;
    assert_eq!(next(&mut events).await, "refused rejected");
    client.subscribe("d", None).await.unwrap();
    assert_eq!(first.accept("e-0-0", false).await["channel"], "d");
    assert_eq!(next(&mut events).await, "subscribed false");
    client.unsubscribe("d").await.unwrap();
    let asked = first.hear().await;
    assert_eq!(asked["type"], "unsubscribe");
    assert!(asked["ref"].is_number(), "{asked}");
}

#[tokio::test]
async fn it_comes_back_and_goes_on_where_it_was() {
    let hub = Hub::new().await;
    let (client, mut events, mut first) = hub.client(hub.options()).await;
    client.subscribe("c", Some("e-0-0")).await.unwrap();
    assert_eq!(first.accept("e-0-0", true).await["since"], "e-0-0");
    first.say(message(1)).await;
    first.close(1012).await;
    let mut second = hub.accept().await;
    assert_eq!(second.accept("e-0-1", true).await["since"], "e-0-1");
    second.say(message(1)).await;
    second.say(message(2)).await;
    drop(second); // without a word
    let mut third = hub.accept().await;
    assert_eq!(third.accept("f-0-9", false).await["since"], "e-0-2");
    for expected in [
        "subscribed true",
        "1",
        "down",
        "up",
        "subscribed true",
        "2",
        "down",
        "up",
        "gap not_recovered",
        "subscribed false",
    ] {
        assert_eq!(next(&mut events).await, expected);
    }
    third.close(3501).await;
    assert_eq!(next(&mut events).await, "ended");
    assert!(events.next().await.is_none());
    let late = client.publish("c", &1, None).await;
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
}

#[tokio::test]
async fn who_may_not_read_the_past_goes_on_without_it_and_is_told() {
    let hub = Hub::new().await;
    let (client, mut events, mut first) = hub.client(hub.options()).await;
    let forbid = |asked: Value| json!({ "type": "error", "ref": asked["ref"], "code": "forbidden", "message": "no" });
    client.subscribe("d", Some("e-0-1")).await.unwrap();
    let asked = first.hear().await;
    first.say(forbid(asked)).await;
    client.subscribe("c", None).await.unwrap();
    first.accept("e-0-1", false).await;
    first.close(1012).await;
    let mut second = hub.accept().await;
    let asked = second.hear().await;
    assert_eq!(asked["since"], "e-0-1");
    second.say(forbid(asked)).await;
    assert_eq!(second.accept("e-0-9", false).await["since"], Value::Null);
    second.close(1012).await;
    let mut third = hub.accept().await;
    for since in [json!("e-0-9"), Value::Null] {
        let asked = third.hear().await;
        assert_eq!(asked["since"], since);
        third.say(forbid(asked)).await;
    }
    for expected in [
        "refused forbidden",
        "subscribed false",
        "down",
        "up",
        "gap not_recovered",
        "subscribed false",
        "down",
        "up",
        "refused forbidden",
    ] {
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test]
async fn a_publish_outlives_its_connection_and_a_broker_that_is_away() {
    let hub = Hub::new().await;
    let (client, events, mut first) = hub.client(hub.options()).await;
    drop(events);
    let data = json!({ "n": 1 });
    let publish = client.publish("c", &data, None);
    let play = async {
        let sent = first.hear().await;
        first.close(1011).await;
        let mut second = hub.accept().await;
        let again = second.hear().await;
        assert_eq!(again, sent, "the same, with the same id");
        second
            .say(json!({ "type": "error", "ref": again["ref"], "code": "unavailable", "message": "away" }))
            .await;
        assert_eq!(second.hear().await, sent);
        second
            .say(json!({ "type": "published", "ref": again["ref"], "position": "e-0-1" }))
            .await;
        (second, sent)
    };
    let (published, (mut second, sent)) = tokio::join!(publish, play);
    let published = published.unwrap();
    assert_eq!(published.position.as_deref(), Some("e-0-1"));
    assert_eq!(sent["id"], *published.id);
    let refused = async {
        let sent = second.hear().await;
        second
            .say(json!({ "type": "error", "ref": sent["ref"], "code": "forbidden", "message": "no" }))
            .await;
    };
    let (refused, ()) = tokio::join!(client.publish("c", &2, Some("mine")), refused);
    assert!(matches!(refused, Err(Error::Refused { code, .. }) if &*code == "forbidden"));
    let large = client.publish("c", &"x".repeat(70_000), None).await;
    assert!(matches!(large, Err(Error::TooLarge)));
}

#[tokio::test]
async fn a_silent_hub_is_asked_then_left() {
    let hub = Hub::new().await;
    let mut options = hub.options();
    options.idle = Duration::from_millis(50);
    options.pong = Duration::from_millis(50);
    let (_client, mut events, mut first) = hub.client(options).await;
    assert_eq!(first.hear().await["type"], "ping");
    first.say(json!({ "type": "pong" })).await;
    assert_eq!(first.hear().await["type"], "ping");
    assert_eq!(next(&mut events).await, "down");
    let _second = hub.accept().await;
    assert_eq!(next(&mut events).await, "up");
}

#[tokio::test]
async fn who_does_not_listen_slows_only_the_reading() {
    let hub = Hub::new().await;
    let mut options = hub.options();
    options.events = 2;
    let (client, mut events, mut played) = hub.client(options).await;
    client.subscribe("c", None).await.unwrap();
    played.accept("e-0-0", false).await;
    for n in 0..50 {
        played.say(message(n)).await;
    }
    client.subscribe("d", None).await.unwrap();
    assert_eq!(played.hear().await["channel"], "d", "it still writes");
    assert_eq!(next(&mut events).await, "subscribed false");
    for n in 0..50 {
        assert_eq!(next(&mut events).await, n.to_string());
    }
    client.close().await;
    let end = timeout(SOON, played.0.next()).await.unwrap();
    assert!(
        matches!(end, Some(Ok(tungstenite::Message::Close(_)))),
        "{end:?}"
    );
}

#[tokio::test]
async fn it_is_the_same_member_on_each_connection_and_its_questions_are_answered_in_the_end() {
    let hub = Hub::new().await;
    let (client, mut events, mut first) = hub.client(hub.options()).await;
    let presence = Presence {
        client: Some("me".into()),
        info: Some(json!([1])),
        watch: true,
        ..Presence::default()
    };
    client.attend("c", None, presence).await.unwrap();
    let said = json!({ "client": "me", "info": [1], "watch": true });
    assert_eq!(first.accept("e-0-0", false).await["presence"], said);
    first
        .say(json!({ "type": "join", "channel": "c", "client": "a", "user": null, "info": null }))
        .await;
    client.ask_members("c").await.unwrap();
    let asked = first.hear().await;
    assert_eq!(
        (&asked["type"], &asked["channel"]),
        (&"presence".into(), &"c".into())
    );
    first
        .say(json!({ "type": "error", "ref": asked["ref"], "code": "unavailable", "message": "later" }))
        .await;
    assert_eq!(first.hear().await["type"], "presence", "asked again");
    first.close(1012).await;
    let mut second = hub.accept().await;
    assert_eq!(second.accept("e-0-0", true).await["presence"], said);
    let asked = second.hear().await;
    assert_eq!(
        asked["type"], "presence",
        "once more, after the subscription"
    );
    second
        .say(json!({ "type": "presence", "ref": asked["ref"], "channel": "c", "count": 2, "members": [], "more": true }))
        .await;
    second
        .say(json!({ "type": "leave", "channel": "c", "client": "a", "user": null, "info": null }))
        .await;
    for expected in [
        "subscribed false",
        "+a",
        "down",
        "up",
        "subscribed true",
        "of 2",
        "-a",
    ] {
        assert_eq!(next(&mut events).await, expected);
    }
}
