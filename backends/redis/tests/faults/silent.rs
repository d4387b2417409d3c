//! Addresses that are silent instead of refusing: nothing there answers, and no error comes either.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use hubplane_backplane::{Driver, ErrorKind, Event};
use hubplane_redis::{DRIVER, STREAMS_DRIVER};

use crate::{
    gap_of, hears, next, open,
    server::{KEPT, Server, await_line, cluster},
    told::Told,
};

/// Two silent addresses, to be put in front of others: the kernel takes connections, and nobody speaks on them.
struct Silent([TcpListener; 2]);

impl Silent {
    fn new() -> Self {
        Self([(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()))
    }

    fn hosts(&self) -> String {
        let host = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        self.0.each_ref().map(host).join(",")
    }
}

const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn silent_nodes_of_a_cluster_cost_a_moment() {
    let (nodes, silent) = (cluster(3, KEPT), Silent::new());
    let hosts: Vec<_> = nodes.iter().map(Server::host).collect();
    let hosts = format!("{},{}", silent.hosts(), hosts.join(","));
    let start = Instant::now();
    let mut instance = open(&format!("redis://{hosts}?cluster=true")).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    hears(&mut instance, "a").await;
    let start = Instant::now();
    let address = format!("redis+streams://{hosts}?cluster=true");
    let told = Told::open(&address).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    told.hears("a", "1").await;
    // Reading back connects anew.
    let start = Instant::now();
    let history = told.backplane.history().unwrap();
    let page = history.read(&"a".into(), None, 10).await.unwrap();
    assert_eq!(page.publications.len(), 1);
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn silent_sentinels_cost_a_moment() {
    let (mut master, silent) = (Server::start(&[]), Silent::new());
    let sentinel = Server::start(&[
        &format!("sentinel monitor news 127.0.0.1 {} 1", master.port),
        "sentinel down-after-milliseconds news 60000",
    ]);
    await_line(&sentinel, &["sentinel", "master", "news"], "master");
    let address = format!(
        "redis://{},{}?sentinel=news",
        silent.hosts(),
        sentinel.host()
    );
    let start = Instant::now();
    let mut instance = open(&address).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    master.kill();
    assert!(matches!(next(&mut instance, 5).await, Event::Down(_)));
    master.again();
    let start = Instant::now();
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// A frozen master takes connections and answers nobody. An attempt to connect to it ends with the switch, not with its own
/// limit of 4 s, which would be told as one more `Down`.
#[tokio::test]
async fn a_frozen_master_is_given_up_when_sentinel_names_another() {
    let master = Server::start(&[]);
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
    await_line(&master, &["info", "replication"], "state=online");
    // It decides nothing by itself, so that the switch surely comes while a connection is being opened.
    let sentinel = Server::start(&[
        &format!("sentinel monitor news 127.0.0.1 {} 1", master.port),
        "sentinel down-after-milliseconds news 60000",
    ]);
    await_line(&sentinel, &["sentinel", "master", "news"], "num-slaves\n1");
    let mut instance = open(&format!("{}?sentinel=news", sentinel.address())).await;
    instance.backplane.subscribe(&["a".into()]).await.unwrap();
    hears(&mut instance, "a").await;
    master.signal("-STOP");
    assert!(matches!(next(&mut instance, 6).await, Event::Down(_)));
    sentinel.ask(&["sentinel", "failover", "news"]);
    assert_eq!(gap_of(&next(&mut instance, 10).await), ["a"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    let switched = ["sentinel", "get-master-addr-by-name", "news"];
    await_line(&sentinel, &switched, &replica.port.to_string());
}

#[tokio::test]
async fn where_all_are_silent_it_is_said_in_time() {
    let silent = Silent::new();
    for (driver, scheme, keys) in [
        (&DRIVER as &dyn Driver, "redis", "cluster=true"),
        (&STREAMS_DRIVER, "redis+streams", "cluster=true"),
        (&DRIVER, "redis", "sentinel=news"),
    ] {
        let address = format!("{scheme}://{}?{keys}", silent.hosts());
        let start = Instant::now();
        let error = driver.open(&address.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(start.elapsed() < Duration::from_secs(6), "{address}");
    }
}
