//! A server that is not, or no longer, the one that all instances publish to.

use std::time::{Duration, Instant};

use hubplane_backplane::{Driver, ErrorKind, Event};
use hubplane_redis::{DRIVER, STREAMS_DRIVER};
use tokio::time::sleep;

use crate::{
    gap_of, hears, next, open, publish,
    server::{KEPT, Server, await_line},
    told::Told,
};

fn replica_of(master: &Server, more: &[&str]) -> Server {
    let line = format!("replicaof 127.0.0.1 {}", master.port);
    let replica = Server::start(&[&[&*line], more].concat());
    await_line(master, &["info", "replication"], "state=online");
    replica
}

#[tokio::test]
async fn a_replica_is_refused_at_the_start() {
    let master = Server::start(&[]);
    let replica = replica_of(&master, &[]);
    let streams = replica.address().replace("redis:", "redis+streams:");
    let drivers: [(&dyn Driver, String); 2] =
        [(&DRIVER, replica.address()), (&STREAMS_DRIVER, streams)];
    for (driver, address) in drivers {
        let error = driver.open(&address.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("is a replica"), "{error}");
    }
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_left_and_acknowledges_nothing() {
    let (other, server) = (Server::start(&[]), Server::start(&[]));
    let mut instance = open(&server.address()).await;
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    hears(&mut instance, "a").await;
    let port = other.port.to_string();
    server.ask(&["replicaof", "127.0.0.1", &port]);
    let demoted = Instant::now();
    // Right after it, long before the next look at the server's role.
    let answer = publish(&instance.backplane, "a", b"who hears this?").await;
    assert!(
        matches!(answer, Some(ErrorKind::Unknown | ErrorKind::Unavailable)),
        "{answer:?}"
    );
    loop {
        match next(&mut instance, 3).await {
            Event::Published(_) => {}
            Event::Down(reason) => break assert!(reason.contains("replica"), "{reason}"),
            event => panic!("{event:?}"),
        }
    }
    assert!(demoted.elapsed() < Duration::from_secs(3));
    // The reason now is why it can't come back.
    let again = next(&mut instance, 3).await;
    assert!(
        matches!(&again, Event::Down(reason) if reason.contains("is a replica")),
        "{again:?}"
    );
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let answer = publish(&instance.backplane, "a", b"nothing").await;
        assert_eq!(answer, Some(ErrorKind::Unavailable));
        sleep(Duration::from_millis(50)).await;
    }
    server.ask(&["replicaof", "no", "one"]);
    assert_eq!(gap_of(&next(&mut instance, 5).await), ["a"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    while publish(&instance.backplane, "b", b"").await.is_some() {
        sleep(Duration::from_millis(20)).await;
    }
    hears(&mut instance, "a").await;
}

#[tokio::test]
async fn streams_leave_a_replica_too_even_one_that_can_be_written_to() {
    let (other, server) = (Server::start(KEPT), Server::start(KEPT));
    let address = server.address().replace("redis:", "redis+streams:");
    let told = Told::open(&address).await;
    told.hears("a", "before").await;
    server.ask(&["config", "set", "replica-read-only", "no"]);
    // The new master doesn't answer, so the data stays as it is.
    other.signal("-STOP");
    server.ask(&["replicaof", "127.0.0.1", &other.port.to_string()]);
    let demoted = Instant::now();
    let error = told.publish("a", "nothing").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    told.until("down", |it| it.downs_and_ups() == "-").await;
    assert!(demoted.elapsed() < Duration::from_secs(3));
    server.ask(&["replicaof", "no", "one"]);
    told.until("up", |it| it.downs_and_ups() == "-+").await;
    told.hears("a", "after").await;
    assert_eq!(told.gaps(), []);
}

/// A master, its replica and a Sentinel that can't demote the master: it goes on as one when the replica is promoted.
fn stubborn() -> [Server; 3] {
    let master = Server::start(&[
        "rename-command SLAVEOF \"\"",
        "rename-command REPLICAOF \"\"",
    ]);
    let replica = replica_of(&master, &[]);
    let sentinel = Server::start(&[
        &format!("sentinel monitor news 127.0.0.1 {} 1", master.port),
        "sentinel failover-timeout news 5000",
    ]);
    await_line(&sentinel, &["sentinel", "master", "news"], "num-slaves\n1");
    [master, replica, sentinel]
}

#[tokio::test]
async fn all_leave_a_master_that_lives_on_when_sentinel_switches() {
    let [master, replica, sentinel] = stubborn();
    let address = format!("{}?sentinel=news", sentinel.address());
    let mut one = open(&address).await;
    sleep(Duration::from_millis(500)).await;
    let mut two = open(&address).await;
    for instance in [&one, &two] {
        instance.backplane.subscribe(&["a".into()]).await.unwrap();
    }
    hears(&mut one, "a").await;
    assert!(matches!(next(&mut two, 5).await, Event::Published(_)));
    sentinel.ask(&["sentinel", "failover", "news"]);
    let address = ["sentinel", "get-master-addr-by-name", "news"];
    await_line(&sentinel, &address, &replica.port.to_string());
    let switched = Instant::now();
    for instance in [&mut one, &mut two] {
        let down = next(instance, 1).await;
        assert!(
            matches!(&down, Event::Down(reason) if reason.contains("Sentinels")),
            "{down:?}"
        );
    }
    // Asked once a second only, they would leave at times of their own.
    let took = switched.elapsed();
    assert!(took < Duration::from_millis(400), "{took:?}");
    assert!(master.ask(&["role"]).starts_with("master"));
    for instance in [&mut one, &mut two] {
        assert_eq!(gap_of(&next(instance, 5).await), ["a"]);
        assert_eq!(next(instance, 5).await, Event::Up);
    }
    while publish(&one.backplane, "b", b"").await.is_some() {
        sleep(Duration::from_millis(20)).await;
    }
    // Both connections of both are on the new master.
    hears(&mut one, "a").await;
    assert!(matches!(next(&mut two, 5).await, Event::Published(_)));
    while publish(&two.backplane, "b", b"").await.is_some() {
        sleep(Duration::from_millis(20)).await;
    }
    hears(&mut two, "a").await;
    assert!(matches!(next(&mut one, 5).await, Event::Published(_)));
    let subscribed = master.ask(&["pubsub", "channels", "hubplane:*"]);
    assert_eq!(subscribed.trim(), "");
}
