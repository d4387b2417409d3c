//! Every form of address on real servers: TLS, an ACL user, Sentinel, Cluster; and what must be refused.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

use std::{sync::atomic::AtomicU32, time::Duration};

use hubplane_backplane::{Driver, ErrorKind, Event, Opened, Outgoing, Receipt};
use hubplane_conformance::{Control, required};
use hubplane_redis::DRIVER;
use tokio::time::timeout;

/// An address of the environment with a prefix of its own, which the ACL user may use too.
fn spaced(variable: &str, more: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let address = required(variable);
    let joint = if address.contains('?') { '&' } else { '?' };
    format!(
        "{address}{joint}prefix=hp{}.{count}:{more}",
        std::process::id()
    )
}

async fn open(address: &str) -> Opened {
    let opened = DRIVER.open(&address.parse().unwrap()).await;
    opened.unwrap_or_else(|error| panic!("{address}: {error}"))
}

async fn refused(address: &str, kind: ErrorKind, word: &str) {
    let parsed = address.parse().unwrap();
    let opened = timeout(Duration::from_secs(15), DRIVER.open(&parsed));
    let error = opened.await.expect("in time").expect_err(address);
    assert_eq!(error.kind(), kind, "{address}: {error}");
    let text = error.to_string();
    assert!(text.contains(word), "{address}: {text}");
    assert!(!text.contains("hunter2"), "{text}");
}

async fn next(opened: &mut Opened) -> Event {
    let event = timeout(Duration::from_secs(15), opened.events.recv()).await;
    event.expect("an event in time").expect("not closed")
}

/// Two instances, and a message from each to both.
async fn converse(address: &str) {
    let mut instances = [open(address).await, open(address).await];
    for instance in &instances {
        let channels = ["news".into(), "other".into()];
        instance.backplane.subscribe(&channels).await.unwrap();
    }
    for from in 0..2 {
        let text = format!("from {from}");
        let batch = vec![Outgoing::new("news", text.clone())];
        let receipts = instances[from].backplane.publish(batch).await;
        assert!(
            matches!(receipts[..], [Ok(Receipt::Accepted)]),
            "{receipts:?}"
        );
        for to in &mut instances {
            match next(to).await {
                Event::Published(all) => {
                    assert_eq!((all.len(), &*all[0].channel), (1, "news"));
                    assert_eq!(all[0].data, text);
                }
                event => panic!("{event:?}"),
            }
        }
    }
    for mut instance in instances {
        instance.backplane.close().await;
        instance.backplane.close().await;
        assert_eq!(instance.events.recv().await, None);
    }
}

#[tokio::test]
async fn plain() {
    converse(&spaced("HUBPLANE_TEST_REDIS", "")).await;
    converse(&spaced("HUBPLANE_TEST_REDIS", "&envelope=never")).await;
    let numbered = spaced("HUBPLANE_TEST_REDIS", "").replace('?', "/3?");
    converse(&numbered).await;
    let absent = numbered.replace("/3?", "/999?");
    refused(&absent, ErrorKind::Config, "settings").await;
    let two = spaced("HUBPLANE_TEST_REDIS", "").replace('?', ",localhost?");
    refused(&two, ErrorKind::Config, "cluster=true").await;
    refused(
        "redis://127.0.0.1:1",
        ErrorKind::Unavailable,
        "can't be reached",
    )
    .await;
}

#[tokio::test]
async fn tls() {
    let address = spaced("HUBPLANE_TEST_REDIS_TLS", "");
    converse(&address).await;
    let wrong_name = address.replace("localhost", "127.0.0.1");
    refused(&wrong_name, ErrorKind::Config, "certificate").await;
    let wrong_authority = address.replace("/ca.pem", "/other-ca.pem");
    refused(&wrong_authority, ErrorKind::Config, "certificate").await;
    let (before, after) = address.split_once("?ca=").unwrap();
    let (ca, rest) = after.split_once('&').unwrap();
    refused(
        &format!("{before}?{rest}"),
        ErrorKind::Config,
        "certificate",
    )
    .await;
    let client = ca.replace("ca.pem", "client");
    converse(&format!("{address}&cert={client}.pem&key={client}.key")).await;
    let mismatch = format!(
        "{address}&cert={client}.pem&key={}",
        ca.replace("ca.pem", "other-ca.key")
    );
    refused(&mismatch, ErrorKind::Config, "does not fit").await;
    let no_tls = before.replace("rediss://", "redis://");
    refused(&no_tls, ErrorKind::Unavailable, "").await;
}

#[tokio::test]
async fn an_acl_user() {
    let address = spaced("HUBPLANE_TEST_REDIS_ACL", "");
    converse(&address).await;
    let by_key = address.replace(":secret@", "@") + "&password=secret";
    converse(&by_key).await;
    let wrong = address.replace(":secret@", ":hunter2@");
    refused(&wrong, ErrorKind::Config, "no such user").await;
    let outside = required("HUBPLANE_TEST_REDIS_ACL");
    refused(&outside, ErrorKind::Config, "hubplane:").await;
}

#[tokio::test]
async fn sentinel() {
    let address = spaced("HUBPLANE_TEST_REDIS_SENTINEL", "");
    converse(&address).await;
    // The first Sentinel is away, the second one answers.
    converse(&address.replace("redis://", "redis://127.0.0.1:1,")).await;
    let wrong = address.replace("mymaster", "nobody");
    refused(&wrong, ErrorKind::Config, "no master named \"nobody\"").await;
    let none = "redis://127.0.0.1:1,127.0.0.1:2?sentinel=mymaster";
    refused(none, ErrorKind::Unavailable, "can't be reached").await;
    let server = required("HUBPLANE_TEST_REDIS");
    refused(
        &format!("{server}?sentinel=mymaster"),
        ErrorKind::Config,
        "settings",
    )
    .await;
}

#[tokio::test]
async fn cluster() {
    let address = spaced("HUBPLANE_TEST_REDIS_CLUSTER", "");
    converse(&address).await;
    converse(&address.replace("redis://", "redis://127.0.0.1:1,")).await;
    let server = required("HUBPLANE_TEST_REDIS");
    refused(
        &format!("{server}?cluster=true"),
        ErrorKind::Config,
        "no node of a Cluster",
    )
    .await;
    let numbered = address.replace('?', "/1?");
    refused(&numbered, ErrorKind::Config, "database 0").await;
    across_nodes(&address).await;
    a_node_dies(&address).await;
}

/// Instances on different nodes of a Cluster hear each other.
async fn across_nodes(address: &str) {
    let (hosts, rest) = address
        .strip_prefix("redis://")
        .unwrap()
        .split_once('?')
        .unwrap();
    let hosts: Vec<_> = hosts.split(',').collect();
    let one = open(&format!("redis://{}?{rest}", hosts[0])).await;
    let mut two = open(&format!("redis://{}?{rest}", hosts[2])).await;
    two.backplane.subscribe(&["across".into()]).await.unwrap();
    let batch = (0..100)
        .map(|n| Outgoing::new("across", format!("{n}")))
        .collect();
    assert!(one.backplane.publish(batch).await.iter().all(Result::is_ok));
    let mut seen = Vec::new();
    while seen.len() < 100 {
        match next(&mut two).await {
            Event::Published(all) => seen.extend(all.into_iter().map(|p| p.data)),
            event => panic!("{event:?}"),
        }
    }
    assert!(
        seen.iter()
            .enumerate()
            .all(|(n, data)| *data == n.to_string())
    );
}

/// When the Cluster's nodes die and come back, instances come back by themselves and say what they missed.
async fn a_node_dies(address: &str) {
    let control = Control::from_env("HUBPLANE_TEST_REDIS_CLUSTER_CONTROL");
    let mut instance = open(address).await;
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    control.kill().await;
    assert!(matches!(next(&mut instance).await, Event::Down(_)));
    control.start().await;
    let gap = next(&mut instance).await;
    assert!(matches!(gap, Event::Gap { .. }), "{gap:?}");
    assert_eq!(next(&mut instance).await, Event::Up);
}
