//! The plain client beside the hubs: a message every 50 ms, and when each one arrived.

use tokio::task::JoinSet;

use super::{
    cluster::{Cluster, Name},
    kafka,
    notes::Notes,
    rabbitmq, redis,
};
use crate::{Result, workload::Workload};

/// A running plain client.
#[derive(Debug)]
pub(super) struct Probe {
    notes: Notes,
    tasks: JoinSet<Result<()>>,
}

impl Probe {
    /// Returns once it publishes and reads at the node that leads for this run's hubs.
    pub(super) async fn start(cluster: &Cluster, workload: &Workload) -> Result<Self> {
        let notes = Notes::new(workload.shared.clock);
        let mut tasks = JoinSet::new();
        match cluster.kind() {
            Name::Kafka => {
                kafka::probe(cluster.authority(), &workload.space, &notes, &mut tasks).await?;
            }
            Name::Sentinel | Name::RedisCluster => {
                tasks.spawn(redis::probe(cluster.roles(), notes.clone()));
            }
            Name::Rabbitmq | Name::RabbitmqQueues => {
                let plain = cluster.plain(&workload.space).await?;
                tasks.spawn(rabbitmq::probe(plain, notes.clone()));
            }
        }
        Ok(Self { notes, tasks })
    }

    /// Ends it; for each lane, when its messages arrived, in microseconds of the run's clock.
    pub(super) async fn end(mut self) -> Result<Vec<Vec<u64>>> {
        self.notes.end();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.notes.take())
    }
}
