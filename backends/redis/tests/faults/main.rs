//! What happens when Redis is frozen, cuts a slow reader, is away, or hands its work to another: on servers of
//! the test's own, since the shared one must not be hurt by two tests at once.
#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod cluster;
mod proxy;
mod roles;
mod server;
mod settings;
mod silent;
mod stall;
mod streams;
mod told;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{
    Backplane, Channel, Driver, ErrorKind, Event, GapCause, Opened, Outgoing, Scope,
};
use hubplane_redis::DRIVER;
use tokio::time::timeout;

use server::{Server, await_line, cluster};

async fn open(address: &str) -> Opened {
    DRIVER.open(&address.parse().unwrap()).await.unwrap()
}

async fn next(opened: &mut Opened, limit: u64) -> Event {
    let event = timeout(Duration::from_secs(limit), opened.events.recv()).await;
    event.expect("an event in time").expect("not closed")
}

fn gap_of(event: &Event) -> Vec<&str> {
    let Event::Gap {
        scope: Scope::Channels(channels),
        cause: GapCause::ConnectionLost,
    } = event
    else {
        panic!("{event:?} is no gap of a lost connection");
    };
    let mut names: Vec<_> = channels.iter().map(|name| &**name).collect();
    names.sort_unstable();
    names
}

async fn publish(backplane: &Arc<dyn Backplane>, channel: &str, data: &[u8]) -> Option<ErrorKind> {
    let outgoing = Outgoing::new(channel, data.to_vec());
    let mut results = backplane.publish(vec![outgoing]).await;
    results.pop().unwrap().err().map(|error| error.kind())
}

async fn hears(opened: &mut Opened, channel: &str) {
    assert_eq!(publish(&opened.backplane, channel, b"heard").await, None);
    match next(opened, 5).await {
        Event::Published(all) => assert_eq!(
            (&*all[0].channel, &all[0].data[..]),
            (channel, &b"heard"[..])
        ),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_frozen_server_is_noticed() {
    let server = Server::start(&[]);
    let mut instance = open(&server.address()).await;
    instance
        .backplane
        .subscribe(&["a".into(), "b".into()])
        .await
        .unwrap();
    server.signal("-STOP");
    let frozen = Instant::now();
    let publishing = tokio::spawn({
        let backplane = Arc::clone(&instance.backplane);
        async move { publish(&backplane, "a", b"lost?").await }
    });
    assert!(matches!(next(&mut instance, 6).await, Event::Down(_)));
    assert!(
        frozen.elapsed() < Duration::from_secs(5),
        "{:?}",
        frozen.elapsed()
    );
    assert_eq!(publishing.await.unwrap(), Some(ErrorKind::Unknown));
    assert!(
        frozen.elapsed() < Duration::from_millis(5500),
        "{:?}",
        frozen.elapsed()
    );
    assert_eq!(
        publish(&instance.backplane, "a", b"refused").await,
        Some(ErrorKind::Unavailable)
    );
    server.signal("-CONT");
    assert_eq!(gap_of(&next(&mut instance, 10).await), ["a", "b"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    while publish(&instance.backplane, "c", b"").await.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hears(&mut instance, "b").await;
}

#[tokio::test]
async fn an_idle_connection_stays_up() {
    let server = Server::start(&["timeout 2"]);
    let mut instance = open(&server.address()).await;
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    let event = timeout(Duration::from_secs(6), instance.events.recv()).await;
    assert!(event.is_err(), "{event:?}");
    hears(&mut instance, "a").await;
}

#[tokio::test]
async fn a_gap_names_what_was_of_interest_at_the_loss() {
    let mut server = Server::start(&[]);
    let mut instance = open(&server.address()).await;
    let channels: Vec<Channel> = (0..2_500).map(|n| format!("c{n}").into()).collect();
    instance.backplane.subscribe(&channels).await.unwrap();
    instance
        .backplane
        .unsubscribe(&channels[1..])
        .await
        .unwrap();
    instance.backplane.subscribe(&["x".into()]).await.unwrap();
    server.kill();
    assert!(matches!(next(&mut instance, 5).await, Event::Down(_)));
    let late = instance
        .backplane
        .subscribe(&["late".into()])
        .await
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    instance.backplane.unsubscribe(&["x".into()]).await.unwrap();
    assert_eq!(
        publish(&instance.backplane, "late", b"").await,
        Some(ErrorKind::Unavailable)
    );
    server.again();
    assert_eq!(gap_of(&next(&mut instance, 10).await), ["c0", "x"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    while publish(&instance.backplane, "x", b"").await.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hears(&mut instance, "late").await;
    hears(&mut instance, "c0").await;
    // Without interest there is nothing to miss.
    instance
        .backplane
        .unsubscribe(&["late".into(), "c0".into()])
        .await
        .unwrap();
    server.kill();
    assert!(matches!(next(&mut instance, 5).await, Event::Down(_)));
    server.again();
    assert_eq!(next(&mut instance, 10).await, Event::Up);
}

#[tokio::test]
async fn a_slow_hub_is_cut_off_by_the_server_and_told() {
    let server = Server::start(&["client-output-buffer-limit pubsub 8mb 4mb 60"]);
    let mut slow = open(&server.address()).await;
    let other = open(&server.address()).await;
    slow.backplane.subscribe(&["a".into()]).await.unwrap();
    let (mut sent, chunk) = (0_u32, vec![b'.'; 64 * 1024]);
    let mut cut = false;
    while !cut {
        assert!(sent < 10_000, "nothing holds the reader back");
        for _ in 0..16 {
            let mut data = sent.to_be_bytes().to_vec();
            data.extend_from_slice(&chunk);
            assert_eq!(publish(&other.backplane, "a", &data).await, None);
            sent += 1;
        }
        cut = !server.ask(&["client", "list"]).contains(" sub=1 ");
    }
    // Everything up to the cut, then the gap, then what comes after: nothing is missing without a word.
    let mut expected = 0;
    let down = loop {
        match next(&mut slow, 10).await {
            Event::Published(all) => {
                for publication in all {
                    assert_eq!(publication.data[..4], u32::to_be_bytes(expected));
                    expected += 1;
                }
            }
            event => break event,
        }
    };
    assert!(matches!(down, Event::Down(_)), "{down:?}");
    assert!(expected < sent);
    assert_eq!(gap_of(&next(&mut slow, 10).await), ["a"]);
    assert_eq!(next(&mut slow, 5).await, Event::Up);
    hears(&mut slow, "a").await;
}

#[tokio::test]
async fn an_unreadable_envelope_is_a_gap_in_its_place() {
    let server = Server::start(&[]);
    let mut instance = open(&server.address()).await;
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    for data in ["1", "\u{1e}hubplane1 nonsense\n", "2"] {
        server.ask(&["publish", "hubplane:a", data]);
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match next(&mut instance, 5).await {
            Event::Published(all) => seen.extend(all.into_iter().map(|p| p.data.to_vec())),
            Event::Gap {
                scope: Scope::Channels(channels),
                cause: GapCause::Undecodable,
            } => seen.push(channels[0].as_bytes().to_vec()),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(seen, [b"1", b"a", b"2"]);
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_a_refusal() {
    let server = Server::start(&[
        "user app on >s resetchannels &hubplane:* -@all +publish +subscribe +unsubscribe",
    ]);
    let address = server.address().replace("redis://", "redis://app:s@");
    let mut instance = open(&address).await;
    server.ask(&[
        "acl",
        "setuser",
        "app",
        "resetchannels",
        "&hubplane:a*",
        "&hubplane:$hubplane/probe",
    ]);
    if let Ok(Some(event)) = timeout(Duration::from_millis(300), instance.events.recv()).await {
        // Redis may cut a user whose rights shrink.
        assert!(matches!(event, Event::Down(_)), "{event:?}");
        assert_eq!(next(&mut instance, 5).await, Event::Up);
    }
    let error = instance
        .backplane
        .subscribe(&["a1".into(), "b".into()])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(
        publish(&instance.backplane, "b", b"").await,
        Some(ErrorKind::Rejected)
    );
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    assert_eq!(
        publish(&instance.backplane, "a1", b"not subscribed").await,
        None
    );
    hears(&mut instance, "a").await;
}

#[tokio::test]
async fn one_channel_that_is_forbidden_does_not_deafen_the_others() {
    let server = Server::start(&[
        "user app on >s resetchannels &hubplane:* -@all +publish +subscribe +unsubscribe",
    ]);
    let address = server.address().replace("redis://", "redis://app:s@");
    let mut instance = open(&address).await;
    let jobs = (0..1_500).map(|n| format!("jobs.{n}").into());
    let mut channels: Vec<Channel> = jobs.chain(["other".into()]).collect();
    instance.backplane.subscribe(&channels).await.unwrap();
    // Redis cuts those who are subscribed to what is forbidden now.
    let narrowed = "resetchannels &hubplane:jobs.* &hubplane:$hubplane/*";
    let set = ["acl", "setuser", "app"].into_iter();
    server.ask(&set.chain(narrowed.split(' ')).collect::<Vec<_>>());
    assert!(matches!(next(&mut instance, 5).await, Event::Down(_)));
    channels.sort_unstable();
    assert_eq!(
        gap_of(&next(&mut instance, 5).await),
        channels.iter().map(|c| &**c).collect::<Vec<_>>()
    );
    match next(&mut instance, 5).await {
        Event::Refused { channels, reason } => {
            assert_eq!(channels, [Channel::from("other")]);
            assert!(reason.contains("forbids"), "{reason}");
        }
        event => panic!("{event:?}"),
    }
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    hears(&mut instance, "jobs.1").await;
    // It is not part of the interest any more, and may be asked for again.
    let again = instance.backplane.subscribe(&["other".into()]).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Rejected);
    server.ask(&["acl", "setuser", "app", "allchannels"]);
    instance
        .backplane
        .subscribe(&["other".into()])
        .await
        .unwrap();
    hears(&mut instance, "other").await;
}

#[tokio::test]
async fn sentinel_moves_the_master() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
    let sentinel = Server::start(&[
        &format!("sentinel monitor news 127.0.0.1 {} 1", master.port),
        "sentinel down-after-milliseconds news 500",
        "sentinel failover-timeout news 2000",
    ]);
    // A Sentinel learns of replicas from the master, ten seconds apart.
    await_line(&master, &["info", "replication"], "state=online");
    await_line(&sentinel, &["sentinel", "master", "news"], "num-slaves\n1");
    let mut instance = open(&format!("{}?sentinel=news", sentinel.address())).await;
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    hears(&mut instance, "a").await;
    master.kill();
    assert!(matches!(next(&mut instance, 5).await, Event::Down(_)));
    assert_eq!(gap_of(&next(&mut instance, 30).await), ["a"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    while publish(&instance.backplane, "b", b"").await.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hears(&mut instance, "a").await;
    replica.ask(&["publish", "hubplane:a", "direct"]);
    assert!(matches!(next(&mut instance, 5).await, Event::Published(_)));
}

#[tokio::test]
async fn the_next_node_of_a_cluster_takes_over() {
    let mut nodes = cluster(3, &[]);
    let hosts: Vec<_> = nodes.iter().map(Server::host).collect();
    let mut instance = open(&format!("redis://{}?cluster=true", hosts.join(","))).await;
    let mut other = open(&format!("redis://{}?cluster=true", hosts[2])).await;
    for opened in [&instance, &other] {
        opened.backplane.subscribe(&["a".into()]).await.unwrap();
    }
    hears(&mut instance, "a").await;
    assert!(matches!(next(&mut other, 5).await, Event::Published(_)));
    nodes[0].kill();
    assert!(matches!(next(&mut instance, 5).await, Event::Down(_)));
    assert_eq!(gap_of(&next(&mut instance, 10).await), ["a"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    while publish(&instance.backplane, "b", b"").await.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hears(&mut instance, "a").await;
    assert!(matches!(next(&mut other, 5).await, Event::Published(_)));
    // Beyond two checks of the site: the Cluster lacks slots, which messages don't need.
    let event = timeout(Duration::from_secs(11), instance.events.recv()).await;
    assert!(event.is_err(), "{event:?}");
}
