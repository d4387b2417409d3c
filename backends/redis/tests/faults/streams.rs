//! What happens to the streams of one server: frozen, killed, emptied, cut and rolled back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hubplane_backplane::{Driver, ErrorKind, Event, GapCause, Outgoing, Position, Scope, Start};
use hubplane_redis::STREAMS_DRIVER;
use tokio::time::sleep;

use crate::{
    server::{KEPT, Server, await_line},
    told::Told,
};

fn address(server: &Server, keys: &str) -> String {
    server.address().replace("redis:", "redis+streams:") + keys
}

/// A channel of each of two streams.
fn channels(told: &Told) -> [String; 2] {
    [0, 1].map(|lane| {
        let mut names = (0..).map(|n| format!("c{n}"));
        let own = names.find(|name| told.backplane.lane(name) == Some(lane));
        own.unwrap()
    })
}

async fn is_lost(told: &Told, channel: &str, position: Position) {
    let history = told.backplane.history().unwrap();
    let read = history.read(&channel.into(), Some(position), 10).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::PositionLost);
}

#[tokio::test]
async fn an_emptied_server_has_another_log() {
    let server = Server::start(KEPT);
    let told = Told::open(&address(&server, "?streams=2")).await;
    let [a, b] = channels(&told);
    let old = told.hears(&a, "before").await;
    server.ask(&["flushall"]);
    told.until("two gaps", |it| it.gaps().len() == 2).await;
    let mut gaps = told.gaps();
    gaps.sort_unstable_by_key(|(lane, _)| *lane);
    let replaced = GapCause::LogReplaced;
    assert_eq!(gaps, [(0, replaced), (1, replaced)]);
    let new = told.hears(&a, "after").await;
    told.hears(&b, "after").await;
    assert_ne!(old.epoch, new.epoch);
    assert_eq!(told.downs_and_ups(), "");
    is_lost(&told, &a, old).await;
    // An instance that comes now is told the same epoch, and the number of streams again.
    let other = Told::open(&address(&server, "?streams=2")).await;
    assert_eq!(other.hears(&a, "other").await.epoch, new.epoch);
    let (number, key) = ("2\n", "hubplane:stream:{0}:streams");
    assert_eq!(server.ask(&["get", key]), number);
}

#[tokio::test]
async fn a_removed_stream_is_another_log_and_its_neighbour_is_not() {
    let server = Server::start(KEPT);
    let told = Told::open(&address(&server, "?streams=2")).await;
    let [a, b] = channels(&told);
    let old = told.hears(&a, "before").await;
    let beside = told.hears(&b, "before").await;
    server.ask(&["del", "hubplane:stream:{0}"]);
    told.until("a gap", |it| !it.gaps().is_empty()).await;
    let new = told.hears(&a, "after").await;
    assert_ne!(old.epoch, new.epoch);
    assert_eq!(told.hears(&b, "after").await.epoch, beside.epoch);
    assert_eq!(told.gaps(), [(0, GapCause::LogReplaced)]);
    is_lost(&told, &a, old).await;
}

#[tokio::test]
async fn a_killed_server_that_keeps_its_file_loses_nothing() {
    let mut server = Server::start(KEPT);
    let told = Told::open(&address(&server, "")).await;
    let before = told.hears("a", "0").await;
    for n in 1..200_usize {
        told.store("a", &n.to_string()).await;
        if n % 60 == 0 {
            server.kill();
            server.again();
            let back = "-+".repeat(n / 60);
            told.until("it is back", |it| it.downs_and_ups() == back)
                .await;
        }
    }
    let after = told.hears("a", "200").await;
    let all: Vec<_> = (0..=200).map(|n| n.to_string()).collect();
    assert_eq!(told.heard("a"), all);
    assert_eq!(before.epoch, after.epoch);
    assert_eq!(told.gaps(), []);
}

#[tokio::test]
async fn a_server_without_a_file_comes_back_with_another_log() {
    let mut server = Server::start(&[]);
    let told = Told::open(&address(&server, "?streams=1")).await;
    let old = told.hears("a", "before").await;
    server.kill();
    server.again();
    told.until("a gap", |it| !it.gaps().is_empty()).await;
    let new = told.hears("a", "after").await;
    assert_ne!(old.epoch, new.epoch);
    assert_eq!(told.gaps(), [(0, GapCause::LogReplaced)]);
}

#[tokio::test]
async fn a_log_that_was_rolled_back_is_another_one() {
    let mut server = Server::start(KEPT);
    let told = Told::open(&address(&server, "?streams=1")).await;
    let other = Told::open(&address(&server, "?streams=1")).await;
    told.hears("a", "saved").await;
    server.kill();
    server.save();
    server.again();
    let old = told.hears("a", "forgotten").await;
    server.kill();
    server.restore();
    server.again();
    for told in [&told, &other] {
        told.until("a gap", |it| !it.gaps().is_empty()).await;
    }
    let new = told.hears("a", "after").await;
    assert_ne!(old.epoch, new.epoch);
    for told in [&told, &other] {
        assert_eq!(told.gaps(), [(0, GapCause::LogReplaced)]);
    }
    is_lost(&told, "a", old).await;
    let first = told.backplane.history().unwrap();
    let page = first.read(&"a".into(), None, 10).await.unwrap();
    let data: Vec<_> = page.publications.iter().map(|p| &p.data[..]).collect();
    assert_eq!(data, [&b"saved"[..], b"after"]);
}

#[tokio::test]
async fn a_log_that_was_rolled_back_and_has_grown_again_is_another_one() {
    let mut server = Server::start(KEPT);
    let told = Told::open(&address(&server, "?streams=1")).await;
    told.hears("a", "saved").await;
    server.kill();
    server.save();
    server.again();
    let old = told.hears("a", "forgotten").await;
    server.kill();
    server.restore();
    server.aside(|server| {
        for _ in 0..50 {
            let add = ["xadd", "hubplane:stream:{0}", "*", "c", "a", "d", "missed"];
            server.ask(&add);
        }
    });
    server.again();
    told.until("a gap", |it| !it.gaps().is_empty()).await;
    let new = told.hears("a", "after").await;
    assert_ne!(old.epoch, new.epoch);
    assert_eq!(told.gaps(), [(0, GapCause::LogReplaced)]);
    assert_eq!(told.heard("a"), ["saved", "forgotten", "after"]);
}

#[tokio::test]
async fn a_frozen_server_is_noticed_and_loses_nothing() {
    let server = Server::start(KEPT);
    let told = Told::open(&address(&server, "")).await;
    told.hears("a", "before").await;
    server.signal("-STOP");
    let error = told.publish("a", "perhaps").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    told.until("down", |it| it.downs_and_ups() == "-").await;
    server.signal("-CONT");
    told.until("up", |it| it.downs_and_ups() == "-+").await;
    told.hears("a", "after").await;
    let heard = told.heard("a");
    // Redis had it in its socket, and took it when it woke.
    assert_eq!(heard, ["before", "perhaps", "after"]);
    assert!(told.gaps().is_empty());
}

/// However much comes right before it freezes, and whatever the reader is waiting for just then.
#[tokio::test]
async fn a_server_that_freezes_under_load_is_noticed_as_soon() {
    let server = Server::start(KEPT);
    let told = Arc::new(Told::open(&address(&server, "?streams=1")).await);
    let load = tokio::spawn({
        let told = Arc::clone(&told);
        async move {
            for n in 0.. {
                let _ = told.publish("a", &n.to_string()).await;
                sleep(Duration::from_millis(5)).await;
            }
        }
    });
    for round in 0..3 {
        sleep(Duration::from_millis(1_300)).await;
        server.signal("-STOP");
        let frozen = Instant::now();
        let down = "-+".repeat(round) + "-";
        told.until("down", |it| it.downs_and_ups() == down).await;
        let took = frozen.elapsed();
        assert!(took < Duration::from_millis(4_200), "{took:?}");
        server.signal("-CONT");
        let up = down + "+";
        told.until("up", |it| it.downs_and_ups() == up).await;
    }
    load.abort();
    assert_eq!(told.gaps(), []);
}

#[tokio::test]
async fn a_reader_that_the_bound_has_overtaken_is_told() {
    let server = Server::start(&[]);
    let address = address(&server, "?streams=1&max-length=200");
    let other = Told::open(&address).await;
    // Its events are not taken, so that it stops reading.
    let mut slow = STREAMS_DRIVER
        .open(&address.parse().unwrap())
        .await
        .unwrap();
    for n in 0..60 {
        let number = |m: u32| Outgoing::new("a", (n * 500 + m).to_string());
        let batch = (0..500).map(number).collect();
        let stored = other.backplane.publish(batch).await;
        assert!(stored.iter().all(Result::is_ok));
    }
    let (mut last, mut gap, mut gaps) = (None, false, 0);
    while last != Some(29_999) {
        match slow.events.recv().await.unwrap() {
            Event::Published(all) => {
                for publication in all {
                    let n: u32 = std::str::from_utf8(&publication.data)
                        .unwrap()
                        .parse()
                        .unwrap();
                    let next = last.map_or(0, |last| last + 1);
                    assert!(n == next || gap && n > next, "{n} after {last:?}");
                    (last, gap) = (Some(n), false);
                }
            }
            Event::Gap { scope, cause } => {
                assert_eq!((scope, cause), (Scope::Lane(0), GapCause::Trimmed));
                (gap, gaps) = (true, gaps + 1);
            }
            Event::Progress(_) => {}
            event => panic!("{event:?}"),
        }
    }
    assert!(gaps > 0);
}

#[tokio::test]
async fn the_rights_that_the_documentation_lists_will_do() {
    let server = Server::start(&[
        "user app on >s resetchannels ~hubplane:* -@all +xadd +xread +xrange +xlen +xinfo +get +mget +set +watch \
         +unwatch +multi +exec +time",
    ]);
    let address = address(&server, "?streams=2").replace("://", "://app:s@");
    let told = Told::open(&address).await;
    let [a, _] = channels(&told);
    told.hears(&a, "1").await;
    let history = told.backplane.history().unwrap();
    assert!(history.read(&a.as_str().into(), None, 1).await.is_ok());
    let page = history.scan(0, Start::since(Duration::from_secs(60)), 10);
    assert_eq!(page.await.unwrap().publications.len(), 1);
    for empty in [&["del", "hubplane:stream:{0}"][..], &["flushall"]] {
        let before = told.gaps().len();
        server.ask(empty);
        told.until("a gap", |it| it.gaps().len() > before).await;
        told.hears(&a, empty[0]).await;
    }
    assert_eq!(told.downs_and_ups(), "");
}

#[tokio::test]
async fn a_log_may_be_bounded_by_age() {
    let server = Server::start(&[]);
    let told = Told::open(&address(&server, "?streams=1&max-age=1s")).await;
    let length = || {
        let length = server.ask(&["xlen", "hubplane:stream:{0}"]);
        length.trim().parse::<u32>().unwrap()
    };
    let number = |n: u32| Outgoing::new("a", n.to_string());
    let stored = told.backplane.publish((0..500).map(number).collect()).await;
    assert!(stored.iter().all(Result::is_ok));
    told.until("all", |it| it.heard("a").len() == 500).await;
    let kept = length();
    sleep(Duration::from_millis(1_200)).await;
    told.hears("a", "500").await;
    assert_eq!(kept, 500);
    // Redis cuts by whole nodes of 100 entries.
    assert!(length() <= 101, "{}", length());
    assert!(told.gaps().is_empty());
}

#[tokio::test]
async fn a_failover_that_loses_nothing_is_no_gap() {
    let mut master = Server::start(KEPT);
    let replica = Server::start(&[
        "appendonly yes",
        &format!("replicaof {}", master.host().replace(':', " ")),
    ]);
    let sentinel = Server::start(&[
        &format!("sentinel monitor news 127.0.0.1 {} 1", master.port),
        "sentinel down-after-milliseconds news 500",
        "sentinel failover-timeout news 2000",
    ]);
    await_line(&master, &["info", "replication"], "state=online");
    await_line(&sentinel, &["sentinel", "master", "news"], "num-slaves\n1");
    let told = Told::open(&address(&sentinel, "?sentinel=news&streams=1")).await;
    let old = told.hears("a", "before").await;
    let length = ["xlen", "hubplane:stream:{0}"];
    await_line(&replica, &length, "1");
    master.kill();
    told.until("up", |it| it.downs_and_ups() == "-+").await;
    let new = told.hears("a", "after").await;
    assert_eq!(old.epoch, new.epoch);
    assert_eq!(told.heard("a"), ["before", "after"]);
    assert!(told.gaps().is_empty());
}
