//! What happens to the streams in a Cluster: a node killed, a slot moved, a replica put in a master's place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

use crate::{
    server::{KEPT, Server, await_line, cluster},
    told::Told,
};

/// One more than there are nodes.
const STREAMS: usize = 4;
const FIRST: &str = "hubplane:stream:{0}";
const FIRST_SLOT: &str = "13907";

async fn open(nodes: &[Server]) -> Told {
    let hosts: Vec<_> = nodes.iter().map(Server::host).collect();
    let hosts = hosts.join(",");
    Told::open(&format!(
        "redis+streams://{hosts}?cluster=true&streams={STREAMS}"
    ))
    .await
}

fn channels(told: &Told) -> Vec<String> {
    let of = |lane| {
        let mut names = (0..).map(|n| format!("c{n}"));
        names.find(|name| told.backplane.lane(name) == Some(lane))
    };
    (0..STREAMS as u32).map(|lane| of(lane).unwrap()).collect()
}

/// Publishes numbers to a channel of each stream; says how many were stored in each.
struct Load {
    ending: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u32>>,
}

impl Load {
    fn start(told: &Arc<Told>) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let publish = |channel: String| {
            let (told, ending) = (Arc::clone(told), Arc::clone(&ending));
            tokio::spawn(async move {
                let mut number = 0;
                while !ending.load(Ordering::Relaxed) {
                    told.store(&channel, &number.to_string()).await;
                    number += 1;
                    sleep(Duration::from_millis(2)).await;
                }
                number
            })
        };
        let tasks = channels(told).into_iter().map(publish).collect();
        Self { ending, tasks }
    }

    /// Everything came, once and in order, without a gap.
    async fn end(self, told: &Told) {
        self.ending.store(true, Ordering::Relaxed);
        for (channel, task) in channels(told).iter().zip(self.tasks) {
            let count = task.await.unwrap();
            assert!(count > 20, "{channel}: {count}");
            told.hears(channel, "end").await;
            let numbers = (0..count).map(|n| n.to_string());
            let all: Vec<_> = numbers.chain(["end".to_owned()]).collect();
            assert_eq!(told.heard(channel), all);
        }
        assert_eq!(told.gaps(), []);
    }
}

/// The node that serves the first stream, by its answer.
fn owner(nodes: &[Server]) -> usize {
    let serves = |node: &Server| !node.ask(&["xlen", FIRST]).contains("MOVED");
    nodes.iter().position(serves).unwrap()
}

#[tokio::test]
async fn a_killed_node_comes_back_and_nothing_is_lost() {
    let mut nodes = cluster(3, KEPT);
    let (told, other) = (Arc::new(open(&nodes).await), open(&nodes).await);
    let load = Load::start(&told);
    sleep(Duration::from_millis(500)).await;
    let at = owner(&nodes);
    nodes[at].kill();
    told.until("down", |it| it.downs_and_ups() == "-").await;
    sleep(Duration::from_millis(2_500)).await;
    nodes[at].again();
    for told in [&told, &other] {
        told.until("up", |it| it.downs_and_ups().ends_with('+'))
            .await;
    }
    sleep(Duration::from_millis(500)).await;
    let heard = |channel: &String| (other.heard(channel).len(), told.heard(channel).len());
    load.end(&told).await;
    for channel in channels(&told) {
        let both = |_: &Told| heard(&channel).0 == heard(&channel).1;
        other.until("the same", both).await;
    }
    assert_eq!(other.gaps(), []);
}

#[tokio::test]
async fn a_stream_moves_to_another_node() {
    let nodes = cluster(3, KEPT);
    let told = Arc::new(open(&nodes).await);
    let load = Load::start(&told);
    sleep(Duration::from_millis(500)).await;
    let (from, to) = (owner(&nodes), (owner(&nodes) + 1) % 3);
    let [source, target] = [from, to].map(|at| nodes[at].ask(&["cluster", "myid"]));
    let [source, target] = [source.trim(), target.trim()];
    nodes[to].ask(&["cluster", "setslot", FIRST_SLOT, "importing", source]);
    nodes[from].ask(&["cluster", "setslot", FIRST_SLOT, "migrating", target]);
    let port = nodes[to].port.to_string();
    for key in ["", ":epoch", ":streams"] {
        let key = format!("{FIRST}{key}");
        nodes[from].ask(&["migrate", "127.0.0.1", &port, &key, "0", "5000"]);
    }
    sleep(Duration::from_millis(300)).await;
    for at in [to, from, (to + 1) % 3] {
        nodes[at].ask(&["cluster", "setslot", FIRST_SLOT, "node", target]);
    }
    told.until("down and up", |it| it.downs_and_ups().starts_with("-+"))
        .await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(owner(&nodes), to);
    load.end(&told).await;
}

#[tokio::test]
async fn a_replica_takes_a_masters_place() {
    let nodes = cluster(3, KEPT);
    let at = owner(&nodes);
    let replica = Server::member(KEPT);
    let id = nodes[at].ask(&["cluster", "myid"]);
    let (new, old) = (replica.host(), nodes[at].host());
    replica.ask(&[
        "--cluster",
        "add-node",
        &new,
        &old,
        "--cluster-slave",
        "--cluster-master-id",
        id.trim(),
    ]);
    await_line(&nodes[at], &["info", "replication"], "state=online");
    let told = Arc::new(open(&nodes).await);
    let load = Load::start(&told);
    sleep(Duration::from_millis(500)).await;
    replica.ask(&["cluster", "failover"]);
    told.until("down and up", |it| it.downs_and_ups().starts_with("-+"))
        .await;
    sleep(Duration::from_millis(500)).await;
    await_line(&replica, &["role"], "master");
    load.end(&told).await;
}

#[tokio::test]
async fn a_frozen_node_holds_up_its_own_streams_only() {
    let partly = [KEPT, &["cluster-require-full-coverage no"]].concat();
    let nodes = cluster(3, &partly);
    let told = Arc::new(open(&nodes).await);
    let names = channels(&told);
    for name in &names {
        told.hears(name, "before").await;
    }
    let frozen = owner(&nodes);
    let port = nodes[frozen].port.to_string();
    nodes[frozen].signal("-STOP");
    let lives = |stream: &usize| {
        let key = format!("hubplane:stream:{{{stream}}}");
        let asked = nodes[(frozen + 1) % 3].ask(&["xlen", &key]);
        !asked.contains(&format!(":{port}"))
    };
    let living: Vec<_> = (0..STREAMS).filter(lives).collect();
    assert!(!living.is_empty() && living.len() < STREAMS);
    // More than may be at work at a time.
    for n in 0..10 {
        let (writer, reader) = (Arc::clone(&told), Arc::clone(&told));
        let (name, channel) = (names[0].clone(), names[0].as_str().into());
        tokio::spawn(async move { writer.publish(&name, &n.to_string()).await });
        tokio::spawn(async move {
            let history = reader.backplane.history().unwrap();
            history.read(&channel, None, 10).await
        });
    }
    sleep(Duration::from_millis(50)).await;
    for stream in living {
        let (name, start) = (&names[stream], Instant::now());
        told.hears(name, "meanwhile").await;
        let history = told.backplane.history().unwrap();
        let page = history.read(&name.as_str().into(), None, 10).await;
        assert_eq!(page.unwrap().publications.len(), 2);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
    }
    nodes[frozen].signal("-CONT");
    told.hears(&names[0], "after").await;
}
