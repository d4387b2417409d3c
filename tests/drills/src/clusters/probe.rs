//! The plain client beside the hubs: a message every 50 ms, and when each one arrived.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    cluster::{Cluster, Name},
    kafka, redis,
};
use crate::{
    Result,
    workload::{Clock, Workload},
};

/// How often a plain client publishes.
pub(super) const EVERY: Duration = Duration::from_millis(50);

/// What the parts of a plain client share. Arrivals are few: 20 a second, as long as one event takes.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    clock: Clock,
    arrivals: Arc<Mutex<Vec<Vec<u64>>>>,
    ended: Arc<AtomicBool>,
}

impl Notes {
    /// A message of this lane (a partition, where there are several) arrived now.
    pub(super) fn arrived(&self, lane: usize) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() <= lane {
            arrivals.resize_with(lane + 1, Vec::new);
        }
        arrivals[lane].push(self.clock.now());
    }

    /// The client is to end; each part looks at least once a second.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// A running plain client.
#[derive(Debug)]
pub(super) struct Probe {
    notes: Notes,
    tasks: JoinSet<Result<()>>,
}

impl Probe {
    /// Returns once it publishes and reads at the node that leads for this run's hubs.
    pub(super) async fn start(cluster: &Cluster, workload: &Workload) -> Result<Self> {
        let notes = Notes {
            clock: workload.shared.clock,
            arrivals: Arc::default(),
            ended: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        match cluster.kind() {
            Name::Kafka => {
                kafka::probe(cluster.authority(), &workload.space, &notes, &mut tasks).await?;
            }
            Name::Sentinel | Name::RedisCluster => {
                tasks.spawn(redis::probe(cluster.roles(), notes.clone()));
            }
        }
        Ok(Self { notes, tasks })
    }

    /// Ends it; for each lane, when its messages arrived, in microseconds of the run's clock.
    pub(super) async fn end(mut self) -> Result<Vec<Vec<u64>>> {
        self.notes.ended.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let mut arrivals = self
            .notes
            .arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *arrivals))
    }
}
