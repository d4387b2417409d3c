//! The two clients that connect again: in a browser, as a library, and as `hubplane sub`.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use hubplane_client::{Client, Event, Options};
use hubplane_conformance::required;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    client::publish,
    hub::{Hub, Running, hubplane, printed, unique},
};

const MESSAGES: u64 = 200;
const KILL_AT: u64 = 70;

fn node(arguments: &[&str]) -> String {
    let done = Command::new("node")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
        .args(arguments)
        .output()
        .expect("node is needed; tests/run installs it");
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn the_javascript_client_is_small_and_typed() {
    println!("{}", node(&["size.mjs"]));
}

#[test]
fn the_javascript_client_keeps_its_word_to_a_played_hub() {
    node(&["--test", "client.test.mjs", "token.test.mjs"]);
}

/// Two hubs on one topic, which keeps a log.
fn two_hubs() -> [Hub; 2] {
    let topic = format!("e2e-client-{}", unique());
    let address = format!("{}?topic={topic}", required("HUBPLANE_TEST_KAFKA"));
    [0, 1].map(|_| Hub::start(&["--origin", "*", "--backplane", &address]))
}

#[test]
fn a_page_misses_nothing_when_its_hub_is_killed() {
    let [a, b] = two_hubs();
    let said = node(&["client.mjs", &a.url(), &a.pid().to_string(), &b.url()]);
    println!("{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_misses_nothing_when_its_hub_is_killed() {
    let [mut a, b] = two_hubs();
    let (client, mut events) = Client::connect(Options::new([a.url(), b.url()]))
        .await
        .unwrap();
    client.subscribe("numbers", None).await.unwrap();
    let first = events.next().await;
    assert!(
        matches!(
            first,
            Some(Event::Subscribed {
                recovered: false,
                ..
            })
        ),
        "{first:?}"
    );
    let (publisher, _) = Client::connect(Options::new([b.url()])).await.unwrap();
    let publishing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            if n == KILL_AT {
                a.kill();
            }
            publisher.publish("numbers", &n, None).await.unwrap();
        }
        publisher.close().await;
    });
    let (mut numbers, mut others) = (Vec::new(), Vec::new());
    while numbers.len() < MESSAGES as usize {
        match timeout(Duration::from_secs(30), events.next())
            .await
            .unwrap_or_else(|_| panic!("{} came, and {others:?}", numbers.len()))
        {
            Some(Event::Message(message)) => {
                numbers.push(message.data.get().parse::<u64>().unwrap());
            }
            Some(Event::Gap { cause, .. }) => panic!("a gap: {cause}"),
            other => others.push(other),
        }
    }
    publishing.await.unwrap();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    assert!(
        others.iter().any(|other| matches!(
            other,
            Some(Event::Subscribed {
                recovered: true,
                ..
            })
        )),
        "{others:?}"
    );
    // It publishes where it is now, too.
    client.publish("numbers", "last", None).await.unwrap();
    client.close().await;
}

fn json_line(reader: &mut impl BufRead) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// In memory the log dies with its hub: that is said as a gap, and what comes then is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sub_comes_back_to_a_hub_that_was_restarted() {
    let mut hub = Hub::memory();
    let address = hub.address;
    let mut sub = Running::new(
        hubplane()
            .args(["sub", "--url", &hub.url(), "a", "--count", "2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut lines = BufReader::new(sub.child().stdout.take().unwrap());
    sleep(Duration::from_millis(700)).await;
    publish(address, "", r#"{"channel":"a","data":{"n":1}}"#).await;
    assert_eq!(json_line(&mut lines)["data"], json!({"n":1}));
    hub.kill();
    let mut command = hubplane();
    command.args(["serve", "--backplane", "memory:", "--listen"]);
    command.arg(address.to_string());
    let _again = Hub::spawn(command, "listening on http://");
    let gap = json!({ "type": "gap", "channel": "a", "cause": "not_recovered" });
    assert_eq!(json_line(&mut lines), gap);
    publish(address, "", r#"{"channel":"a","data":2}"#).await;
    let second = json_line(&mut lines);
    assert_eq!(
        (&second["type"], &second["data"]),
        (&"message".into(), &2.into())
    );
    let done = sub.output();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success() && said.contains("connecting again"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sub_begins_after_a_position() {
    let hub = Hub::memory();
    let mut positions = Vec::new();
    for n in 0..4 {
        let body = json!({ "channel": "a", "data": n }).to_string();
        let (_, answer) = publish(hub.address, "", &body).await;
        positions.push(answer["position"].as_str().unwrap().to_owned());
    }
    let run = |arguments: &'static [&str]| {
        let (url, since) = (hub.url(), positions[1].clone());
        let mut command = hubplane();
        command
            .args(["sub", "--url", &url, "--since", &since])
            .args(arguments);
        printed(command)
    };
    let missed = run(&["a", "--count", "2"]);
    let missed = timeout(Duration::from_secs(20), missed)
        .await
        .expect("what was missed comes")
        .unwrap();
    let lines = String::from_utf8(missed.stdout).unwrap();
    let data: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .collect();
    assert_eq!(data, [2, 3]);
    let two = run(&["a", "b"]).await.unwrap();
    assert_eq!(two.status.code(), Some(2), "{two:?}");
}
