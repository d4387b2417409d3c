//! What operators do to a topic and its users, on a real broker: rights and cleanup policies.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Backplane, Driver, ErrorKind, Event, Events, Outgoing, Result};
use hubplane_conformance::required;
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

fn brokers() -> String {
    required("HUBPLANE_TEST_KAFKA")
        .trim_start_matches("kafka://")
        .to_owned()
}

/// The address of a topic for the user whom the tests take rights from.
fn limited(topic: &str) -> String {
    format!("{}&topic={topic}", required("HUBPLANE_TEST_KAFKA_LIMITED"))
}

fn admin() -> AdminClient<DefaultClientContext> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers()).create().unwrap()
}

/// A topic of one partition, with a setting.
async fn topic(name: &str, setting: (&str, &str)) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let name = format!("hp-{name}-{}", now.unwrap().as_micros());
    let (key, value) = setting;
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set(key, value);
    let made = admin().create_topics([&new], &AdminOptions::new()).await;
    made.unwrap().pop().unwrap().unwrap();
    name
}

/// Gives the user a right on a topic (`--add`), or takes it (`--remove`), by Kafka's own tool.
async fn right(how: &str, topic: &str, operation: &str) {
    let script = required("HUBPLANE_TEST_KAFKA_CONTROL");
    let script = script.split_whitespace().next().unwrap();
    let (class, brokers) = ("org.apache.kafka.tools.AclCommand", brokers());
    let arguments = ["run", class, "--bootstrap-server", &brokers, how, "--force"];
    let done = Command::new(script)
        .args(arguments)
        .args(["--allow-principal", "User:limited"])
        .args(["--operation", operation, "--topic", topic])
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

async fn open(address: &str) -> Result<(Arc<dyn Backplane>, Events)> {
    let opened = DRIVER.open(&address.parse()?).await?;
    Ok((opened.backplane, opened.events))
}

async fn publish(backplane: &Arc<dyn Backplane>) -> Result<()> {
    let answers = backplane.publish(vec![Outgoing::new("c", "x")]).await;
    answers.into_iter().next().unwrap().map(|_| ())
}

/// Waits for an event that is wanted.
async fn until<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> T {
    let next = async {
        loop {
            let event = events.recv().await.expect("open");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(40), next)
        .await
        .expect("an event in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_at_the_start_and_later() {
    let topic = topic("rights", ("retention.ms", "3600000")).await;
    right("--add", &topic, "Write").await;
    let error = open(&limited(&topic)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("may not read"), "{error}");

    right("--add", &topic, "Read").await;
    let (a, mut events) = open(&limited(&topic)).await.unwrap();
    publish(&a).await.unwrap();
    until(&mut events, |event| {
        matches!(event, Event::Published(_)).then_some(())
    })
    .await;

    right("--remove", &topic, "Write").await;
    let error = publish(&a).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert!(error.to_string().contains("may not write"), "{error}");
    let error = open(&limited(&topic)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("may not write"), "{error}");

    right("--add", &topic, "Write").await;
    right("--remove", &topic, "Read").await;
    let reason = until(&mut events, |event| match event {
        Event::Down(reason) => Some(reason),
        _ => None,
    })
    .await;
    assert!(reason.contains("may not read"), "{reason}");
    right("--add", &topic, "Read").await;
    until(&mut events, |event| {
        matches!(event, Event::Up).then_some(())
    })
    .await;
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_compacted_later_recovers_nothing() {
    let topic = topic("compacted", ("cleanup.policy", "delete")).await;
    let address = format!("kafka://{}?topic={topic}", brokers());
    let (a, _events) = open(&address).await.unwrap();
    publish(&a).await.unwrap();
    let history = a.history().unwrap();
    history.read(&"c".into(), None, 10).await.unwrap();
    let resource = ResourceSpecifier::Topic(&topic);
    let change = AlterConfig::new(resource).set("cleanup.policy", "compact");
    let changed = admin().alter_configs(&[change], &AdminOptions::new()).await;
    changed.unwrap().pop().unwrap().unwrap();
    // The settings are looked at each minute.
    let until = Instant::now() + Duration::from_secs(75);
    loop {
        match history.read(&"c".into(), None, 10).await {
            Err(error) if error.kind() == ErrorKind::PositionLost => {
                assert!(error.to_string().contains("cleanup.policy"), "{error}");
                break;
            }
            answer => assert!(Instant::now() < until, "{answer:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
    publish(&a).await.unwrap();
    a.close().await;
}
