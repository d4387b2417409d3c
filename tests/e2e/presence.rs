//! Who is on a channel, on one hub and on several, while hubs and brokers come and go.

use std::time::Duration;

use hubplane_conformance::required;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::{Came, Client, http, publish},
    hub::{Hub, hubplane, printed, unique},
    redis::Redis,
};

/// A member that is back within it was never away.
const GRACE: Duration = Duration::from_secs(2);
/// A hub that is silent for so long is dead.
const DEAD: Duration = Duration::from_secs(4);
/// For what happened to be known everywhere.
const TOLD: Duration = Duration::from_secs(1);

/// A hub with short times, so that tests need no minutes.
fn hub(backplane: &str) -> Hub {
    Hub::configured(&format!(
        "backplane = \"{backplane}\"\n[limits]\npresence_grace = \"2s\"\npresence_beat = \"1s\"\npresence_dead = \"4s\"\n\
         presence_page = 50\n"
    ))
}

/// The address of the shared Redis with a prefix of this test's own.
fn redis() -> String {
    let broker = required("HUBPLANE_TEST_REDIS");
    format!("{broker}?prefix=presence-{}:", unique())
}

/// A client that takes part in the channel `room`.
async fn present(hub: &Hub, presence: Value) -> Client {
    let mut client = Client::connect(hub.address, "", &[]).await;
    let ask = json!({ "type": "subscribe", "channel": "room", "presence": presence });
    let reply = client.ask(&ask.to_string()).await;
    assert_eq!(reply["type"], "subscribed", "{reply}");
    client
}

/// A client that is a member under this name.
async fn member(hub: &Hub, name: &str) -> Client {
    present(hub, json!({ "client": name })).await
}

/// Members named `m` and a number.
async fn members(hub: &Hub, names: impl IntoIterator<Item = u32>) -> Vec<Client> {
    let mut clients = Vec::new();
    for n in names {
        clients.push(member(hub, &format!("m{n}")).await);
    }
    clients
}

/// A client that is told who comes and goes, and is no member itself.
async fn watcher(hub: &Hub) -> Client {
    present(hub, json!({ "watch": true })).await
}

/// What a watcher is told meanwhile: `+a`, `-a`, sorted.
async fn told(client: &mut Client, time: Duration) -> Vec<String> {
    let end = Instant::now() + time;
    let mut all = Vec::new();
    while let Ok(pushed) = timeout(end - Instant::now(), client.json()).await {
        let sign = match &pushed["type"] {
            kind if kind == "join" => '+',
            kind if kind == "leave" => '-',
            other => panic!("{other} among joins and leaves"),
        };
        all.push(format!("{sign}{}", pushed["client"].as_str().unwrap()));
    }
    all.sort();
    all
}

/// What [`told`] gives for members of these numbers.
fn named(sign: char, names: impl IntoIterator<Item = u32>) -> Vec<String> {
    let mut all: Vec<_> = names.into_iter().map(|n| format!("{sign}m{n}")).collect();
    all.sort();
    all
}

/// How many members a hub counts.
async fn count(hub: &Hub) -> u64 {
    let (status, answer) = http(hub.address, "GET /v1/channels/room/presence?limit=0", "").await;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["count"].as_u64().unwrap()
}

/// Waits until all hubs count so many, and have told so.
async fn agree(hubs: &[&Hub], number: u64, within: Duration) {
    let end = Instant::now() + within;
    for hub in hubs {
        loop {
            let counted = count(hub).await;
            if counted == number {
                break;
            }
            assert!(Instant::now() < end, "{counted} of {number}");
            sleep(Duration::from_millis(50)).await;
        }
    }
    // Telling comes a tick after counting.
    sleep(TOLD / 4).await;
}

#[tokio::test]
async fn a_member_says_what_it_likes_of_itself_within_limits() {
    let hub = hub("memory:");
    let ann = json!({ "client": "a", "user": "ann", "info": { "at": [1, 2] }, "watch": true });
    let mut a = present(&hub, ann).await;
    let join = a.json().await;
    let first = json!({ "type": "join", "channel": "room", "client": "a", "user": "ann", "info": { "at": [1, 2] } });
    assert_eq!(join, first, "its own, too");
    let mut b = member(&hub, "b").await;
    assert_eq!(a.json().await["info"], Value::Null);
    let answer = b
        .ask(r#"{"type":"presence","ref":1,"channel":"room"}"#)
        .await;
    assert_eq!((&answer["ref"], &answer["count"]), (&1.into(), &2.into()));
    assert_eq!(
        (answer["members"].as_array().unwrap().len(), &answer["more"]),
        (2, &false.into())
    );
    // A member may say something else of itself at any time.
    let again = r#"{"type":"subscribe","channel":"room","presence":{"client":"b","info":"away"}}"#;
    assert_eq!(b.ask(again).await["type"], "subscribed");
    let (_, page) = http(hub.address, "GET /v1/channels/room/presence", "").await;
    assert!(
        page.contains(r#"{"client":"b","user":null,"info":"away"}"#),
        "{page}"
    );
    let (status, _) = http(hub.address, "GET /v1/channels/room/presence?limit=51", "").await;
    assert_eq!(status, 400);
    // The hub's own channels are not for clients.
    for what in ["presence", "history"] {
        let reserved = format!("GET /v1/channels/%24hubplane%2fpresence/{what}");
        assert_eq!(http(hub.address, &reserved, "").await.0, 400);
    }
    // Too short, too long, too large, and somebody without a client id.
    for (presence, code) in [
        (json!({ "client": "" }), "bad_presence"),
        (
            json!({ "client": "c", "user": "u".repeat(256) }),
            "bad_presence",
        ),
        (
            json!({ "client": "c", "info": "i".repeat(1_024) }),
            "bad_presence",
        ),
        (json!({ "user": "ann" }), "malformed"),
    ] {
        let ask =
            json!({ "type": "subscribe", "ref": 2, "channel": "other", "presence": presence });
        assert_eq!(b.ask(&ask.to_string()).await["code"], code);
    }
    let unsubscribe = r#"{"type":"unsubscribe","channel":"room"}"#;
    assert_eq!(b.ask(unsubscribe).await["type"], "unsubscribed");
    // Within its grace it is still there for all others.
    assert_eq!(told(&mut a, GRACE + TOLD).await, ["-b"]);
    agree(&[&hub], 1, TOLD).await;
}

#[tokio::test]
async fn an_answer_names_a_page_and_counts_all() {
    let hub = hub("memory:");
    let mut clients = members(&hub, 0..60).await;
    let answer = clients[0]
        .ask(r#"{"type":"presence","channel":"room"}"#)
        .await;
    let listed = answer["members"].as_array().unwrap().len();
    // All are counted, and one page of 50 is named.
    assert_eq!(
        (&answer["count"], listed, &answer["more"]),
        (&60.into(), 50, &true.into())
    );
    let metrics = http(hub.address, "GET /metrics", "").await.1;
    assert!(
        metrics.contains("hubplane_presence_members 60\n"),
        "{metrics}"
    );
    drop(clients);
    agree(&[&hub], 0, GRACE + TOLD).await;
}

#[tokio::test]
async fn sub_prints_who_is_there_and_who_comes_and_goes() {
    let hub = hub("memory:");
    let _here = member(&hub, "a").await;
    agree(&[&hub], 1, TOLD).await;
    let mut command = hubplane();
    let url = hub.url();
    command.args(["sub", "room", "--presence", "--count", "1", "--url", &url]);
    let printing = printed(command);
    sleep(TOLD).await;
    drop(member(&hub, "b").await);
    sleep(GRACE + TOLD).await;
    // One message ends the command.
    publish(hub.address, "", r#"{"channel":"room","data":1}"#).await;
    let said = printing.await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let kinds = said.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let who = line["client"]
            .as_str()
            .or(line["members"][0]["client"].as_str());
        format!(
            "{} {}",
            line["type"].as_str().unwrap(),
            who.unwrap_or_default()
        )
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, ["presence a", "join b", "leave b", "message "]);
}

/// Two members on two hubs; one of them changes its hub, then goes.
/// On any broker: the hubs tell each other by its messages alone.
async fn two_hubs(backplane: &str) {
    let (one, two) = (hub(backplane), hub(backplane));
    let mut watchers = [watcher(&one).await, watcher(&two).await];
    let a = member(&one, "m1").await;
    let mut b = member(&two, "m2").await;
    // Five seconds, as a broker may just have made what it needs.
    agree(&[&one, &two], 2, TOLD * 5).await;
    for watcher in &mut watchers {
        assert_eq!(told(watcher, TOLD).await, named('+', [1, 2]));
    }
    let answer = b.ask(r#"{"type":"presence","channel":"room"}"#).await;
    let mut names: Vec<_> = answer["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["client"])
        .collect();
    names.sort_by_key(|name| name.as_str());
    assert_eq!(names, ["m1", "m2"]);
    drop(a);
    // Back within its grace, at the other hub.
    sleep(GRACE / 2).await;
    let a = member(&two, "m1").await;
    for watcher in &mut watchers {
        assert!(
            told(watcher, GRACE + TOLD).await.is_empty(),
            "it was never away"
        );
    }
    drop(a);
    for watcher in &mut watchers {
        let all = told(watcher, GRACE + TOLD).await;
        assert_eq!(all, named('-', [1]));
    }
    agree(&[&one, &two], 1, TOLD).await;
    // One that starts now asks the others.
    agree(&[&hub(backplane)], 1, TOLD * 5).await;
}

#[tokio::test]
async fn two_hubs_on_redis() {
    two_hubs(&redis()).await;
}

#[tokio::test]
async fn two_hubs_on_kafka() {
    let broker = required("HUBPLANE_TEST_KAFKA");
    two_hubs(&format!("{broker}?topic=presence-{}", unique())).await;
}

#[tokio::test]
async fn two_hubs_on_rabbitmq() {
    let broker = required("HUBPLANE_TEST_RABBITMQ");
    let exchange = format!("exchange=presence-{}", unique());
    two_hubs(&format!("{broker}?{exchange}")).await;
    let streams = broker.replace("amqp://", "amqp+streams://");
    two_hubs(&format!("{streams}?{exchange}-s")).await;
}

#[tokio::test]
async fn members_of_a_killed_hub_leave_once_unless_they_come_elsewhere() {
    let backplane = redis();
    let (mut one, two, three) = (hub(&backplane), hub(&backplane), hub(&backplane));
    let clients = members(&one, 0..20).await;
    agree(&[&two, &three], 20, TOLD * 5).await;
    let mut watchers = [watcher(&two).await, watcher(&three).await];
    // Killed, so that it can say nothing of its members.
    one.kill();
    let killed = Instant::now();
    drop(clients);
    // Five of them are at another hub before anybody is counted out.
    let back = members(&two, 0..5).await;
    agree(&[&two, &three], 5, DEAD + GRACE + TOLD).await;
    println!(
        "known everywhere after {:?}, dead after {DEAD:?}",
        killed.elapsed()
    );
    for watcher in &mut watchers {
        assert_eq!(told(watcher, TOLD).await, named('-', 5..20));
    }
    // It comes back under another name and without members.
    let one = hub(&backplane);
    agree(&[&one, &two, &three], 5, TOLD * 5).await;
    // Number 4 is a member already: it has moved, and has not come.
    let more = members(&one, 4..7).await;
    agree(&[&one, &two, &three], 7, TOLD * 5).await;
    for watcher in &mut watchers {
        assert_eq!(told(watcher, TOLD).await, named('+', 5..7));
    }
    drop((back, more));
}

#[tokio::test]
async fn members_of_a_hub_that_stops_leave_once_unless_they_come_elsewhere() {
    let backplane = redis();
    let (mut one, two) = (hub(&backplane), hub(&backplane));
    let mut clients = members(&one, 0..20).await;
    agree(&[&two], 20, TOLD * 5).await;
    let mut watcher = watcher(&two).await;
    // Stopping takes as long as its clients, so it runs beside the test.
    let stopping = tokio::task::spawn_blocking(move || one.terminate());
    let mut back = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        // 1012 tells them to connect again.
        assert_eq!(client.close_code().await, 1012);
        if n < 10 {
            back.push(member(&two, &format!("m{n}")).await);
        }
    }
    drop(clients);
    assert_eq!(stopping.await.unwrap(), Some(0));
    assert_eq!(
        told(&mut watcher, GRACE + TOLD * 2).await,
        named('-', 10..20)
    );
    assert_eq!(count(&two).await, 10);
}

#[tokio::test]
async fn what_changed_while_the_broker_was_away_is_told_once_afterwards() {
    let redis = Redis::new();
    let backplane = redis.address();
    // Redis must answer before hubs start.
    sleep(TOLD).await;
    let (one, two) = (hub(&backplane), hub(&backplane));
    let mut stay = members(&one, 0..3).await;
    let go = members(&one, 3..6).await;
    agree(&[&two], 6, TOLD * 5).await;
    let mut watcher = watcher(&two).await;
    let port = redis.port;
    drop(redis);
    drop(go);
    // Subscribed already, they become members now; a new subscription waits for the broker.
    for (n, client) in stay.iter_mut().enumerate() {
        let client_id = format!("m{}", n + 10);
        let ask =
            json!({ "type": "subscribe", "channel": "room", "presence": { "client": client_id } });
        client.send(&ask.to_string()).await;
    }
    sleep(DEAD + GRACE + TOLD).await;
    let gone = told_with_gaps(&mut watcher).await;
    assert!(
        gone.is_empty(),
        "who does not hear thinks nobody dead: {gone:?}"
    );
    // The same port, and nothing in memory: all interest must be made anew.
    let _redis = Redis::start(port);
    agree(&[&one, &two], 3, DEAD * 5).await;
    sleep(GRACE + TOLD).await;
    // Six have left (three by another name), and three have come.
    let mut expected = named('-', 0..6);
    expected.extend(named('+', 10..13));
    expected.sort();
    assert_eq!(told_with_gaps(&mut watcher).await, expected);
}

/// As [`told`], of what has come, without the gaps that a lost connection brings.
async fn told_with_gaps(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(Came::Json(pushed)) = timeout(TOLD, client.come()).await {
        let sign = if pushed["type"] == "join" { '+' } else { '-' };
        if pushed["type"] != "gap" {
            all.push(format!("{sign}{}", pushed["client"].as_str().unwrap()));
        }
    }
    all.sort();
    all
}
