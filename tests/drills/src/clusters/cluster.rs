//! A cluster of one kind: its nodes, the script that controls them, and who leads.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{kafka, rabbitmq::Plain, redis::Roles};
use crate::{Result, backend::Backend};

/// A cluster is whole again within this time, or the drill fails.
const WHOLE: Duration = Duration::from_secs(60);

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Three Kafka nodes, three replicas, two of them in sync
    Kafka,
    /// Redis with two replicas and three Sentinels
    Sentinel,
    /// Redis Cluster with three masters and three replicas
    RedisCluster,
    /// Three RabbitMQ nodes, with the hubs on a stream
    Rabbitmq,
    /// Three RabbitMQ nodes, with a classic queue for each hub
    RabbitmqQueues,
}

impl Name {
    fn is_rabbitmq(self) -> bool {
        matches!(self, Self::Rabbitmq | Self::RabbitmqQueues)
    }
}

/// Running nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    kind: Name,
    script: PathBuf,
    /// Where the nodes keep their data; the script finds everything else by it.
    directory: PathBuf,
    /// In the order of the nodes; what else each port is for, the script says.
    ports: Vec<u16>,
    authority: String,
}

impl Cluster {
    /// Starts all nodes, below a directory that this run alone uses; returns once they answer.
    pub(super) async fn start(kind: Name, below: &Path) -> Result<Self> {
        // The scripts for Redis read from the directory's name what to start.
        let (script, directory) = match kind {
            Name::Kafka => ("cluster-kafka.sh", "kafka"),
            Name::Sentinel => ("cluster-redis.sh", "sentinel"),
            Name::RedisCluster => ("cluster-redis.sh", "cluster"),
            Name::Rabbitmq => ("cluster-rabbitmq.sh", "rabbitmq"),
            Name::RabbitmqQueues => ("cluster-rabbitmq.sh", "rabbitmq-queues"),
        };
        let mut cluster = Self {
            kind,
            script: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../brokers")
                .join(script),
            directory: below.join(directory),
            ports: Vec::new(),
            authority: String::new(),
        };
        // A cluster that is half started must not stay.
        if let Err(error) = cluster.control("start", None).await {
            _ = cluster.end().await;
            return Err(error);
        }
        let text = fs::read_to_string(cluster.directory.join("ports"))?;
        cluster.ports = text
            .split_whitespace()
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()?;
        // Clients of Sentinel are given the Sentinels, which name the master.
        let clients = if kind == Name::Sentinel { 3..6 } else { 0..3 };
        let hosts: Vec<_> = cluster.ports[clients]
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        cluster.authority = hosts.join(",");
        Ok(cluster)
    }

    /// The hubs' backend on this cluster.
    pub(super) async fn backend(&self, logs: &Path) -> Result<Backend> {
        let hosts = &self.authority;
        let address = match self.kind {
            Name::Kafka => format!("kafka://{hosts}?replication=3"),
            Name::Sentinel => format!("redis+streams://{hosts}?sentinel=mymaster"),
            Name::RedisCluster => format!("redis+streams://{hosts}?cluster=true"),
            Name::Rabbitmq => format!("amqp+streams://guest:guest@{hosts}"),
            Name::RabbitmqQueues => format!("amqp://guest:guest@{hosts}"),
        };
        Backend::open(&address, logs).await
    }

    pub(super) fn kind(&self) -> Name {
        self.kind
    }

    /// For the report, and for directories.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Name::Kafka => "kafka",
            Name::Sentinel => "sentinel",
            Name::RedisCluster => "redis-cluster",
            Name::Rabbitmq => "rabbitmq",
            Name::RabbitmqQueues => "rabbitmq-queues",
        }
    }

    /// Whether what was acknowledged survives its leader. Redis acknowledges before its replicas have it; a
    /// hub's queue in RabbitMQ is on one node.
    pub(super) fn is_lossless(&self) -> bool {
        matches!(self.kind, Name::Kafka | Name::Rabbitmq)
    }

    /// The hosts that clients are given.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What a client of Redis must know: who to ask, and how.
    pub(super) fn roles(&self) -> Roles {
        Roles {
            ports: self.ports[..6].to_vec(),
            cluster: self.kind == Name::RedisCluster,
        }
    }

    /// What the plain client uses on RabbitMQ: the node that leads first.
    pub(super) async fn plain(&self, space: &str) -> Result<Plain> {
        let mut ports = self.ports[..3].to_vec();
        // Nodes count from 1.
        ports.rotate_left(self.leader(space).await? - 1);
        Ok(Plain {
            ports,
            name: format!("plain.{space}"),
            stream: self.kind == Name::Rabbitmq,
        })
    }

    /// The numbers of the nodes that hold data.
    pub(super) fn nodes(&self) -> RangeInclusive<usize> {
        1..=if self.kind == Name::RedisCluster {
            6
        } else {
            3
        }
    }

    /// `start`, `stop`, `kill`, `freeze` or `thaw` one node, or all of them.
    pub(super) async fn control(&self, verb: &str, node: Option<usize>) -> Result<()> {
        let node = node.map(|node| node.to_string());
        self.script(verb, node.as_deref()).await.map(drop)
    }

    /// Runs a verb of the script. The error has all that it printed.
    async fn script(&self, verb: &str, last: Option<&str>) -> Result<String> {
        let output = Command::new(&self.script)
            .arg(verb)
            .arg(&self.directory)
            .args(last)
            .output()
            .await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let printed = String::from_utf8_lossy(&output.stdout);
            return Err(
                format!("{} {verb} {last:?}: {said}{printed}", self.script.display()).into(),
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The number of the node that leads the first partition, or has the first stream, of the hubs with this space.
    pub(super) async fn leader(&self, space: &str) -> Result<usize> {
        if self.kind == Name::Kafka {
            // The first partition stands for all: the hubs' messages are spread over them.
            let partitions = kafka::partitions(&self.authority, space).await?;
            return Ok(usize::try_from(partitions[0].leader)?);
        }
        if self.kind.is_rabbitmq() {
            // A hub's queue has the hub's own name after the exchange's.
            let end = if self.kind == Name::Rabbitmq {
                "stream"
            } else {
                ""
            };
            let name = format!("hubplane.{space}.{end}");
            return Ok(self.script("leader", Some(&name)).await?.trim().parse()?);
        }
        let port = self.roles().leader().await?;
        let at = self.ports.iter().position(|other| *other == port);
        Ok(at.ok_or("the leader is no node of ours")? + 1)
    }

    /// Asks the cluster to make another node the leader.
    pub(super) async fn switch(&self, space: &str) -> Result<()> {
        if self.kind.is_rabbitmq() {
            let leader = self.leader(space).await?;
            return self.control("switch", Some(leader)).await;
        }
        if self.kind != Name::Kafka {
            return self.roles().switch().await;
        }
        let plan = self.directory.join("plan.json");
        kafka::plan(&self.authority, space, &plan).await?;
        self.script("move", Some(&plan.to_string_lossy()))
            // Kafka's own tool carries the plan out.
            .await
            .map(drop)
    }

    /// Returns when every node has its part again, so that the next one may go.
    pub(super) async fn until_whole(&self, space: &str) -> Result<()> {
        if self.kind.is_rabbitmq() {
            return self.control("whole", None).await;
        }
        if self.kind != Name::Kafka {
            // The script waits for it, and starts nothing that runs.
            return self.control("start", None).await;
        }
        let start = Instant::now();
        loop {
            let found = kafka::partitions(&self.authority, space).await;
            // A leader of -1 means that there is none.
            if found.is_ok_and(|all| all.iter().all(|one| one.leader > 0 && one.in_sync == 3)) {
                return Ok(());
            }
            if start.elapsed() > WHOLE {
                return Err(format!("the replicas were not in sync after {WHOLE:?}").into());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// After a thaw: returns true if that node did not become a member by itself, so that it was restarted. Only RabbitMQ
    /// needs an operator for that.
    pub(super) async fn rejoin(&self, node: usize) -> Result<bool> {
        if !self.kind.is_rabbitmq() {
            return Ok(false);
        }
        let said = self.script("rejoin", Some(&node.to_string())).await?;
        Ok(said.trim() == "restarted")
    }

    /// After an event that may have failed halfway: nothing is frozen, and every node runs.
    pub(super) async fn repair(&self) -> Result<()> {
        for node in self.nodes() {
            // A node that does not run can't be thawed, and needn't.
            _ = self.control("thaw", Some(node)).await;
        }
        self.control("start", None).await
    }

    /// Ends every process of the cluster.
    pub(super) async fn end(&self) -> Result<()> {
        self.control("kill", None).await
    }
}
