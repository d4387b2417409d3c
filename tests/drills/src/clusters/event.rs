//! What happens to the node that leads.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use tokio::time::sleep;

use super::cluster::Cluster;
use crate::{Result, cell::Cell, checker::Phase, workload::Workload};

/// How long a killed leader stays away, and how long a frozen one stands still.
const AWAY: Duration = Duration::from_secs(20);
/// How long a rolling restart rests after each node, so that the pauses of two nodes are not one on a channel that had no
/// message between them.
const REST: Duration = Duration::from_secs(2);

/// An event by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Event {
    /// SIGKILL of the leader, which comes back after 20 s
    Kill,
    /// SIGSTOP of the leader for 20 s
    Freeze,
    /// The cluster is asked to make another node the leader
    Switch,
    /// Each node ends and starts, one after another
    Rolling,
    /// As kill, and the first address that the hubs were given never answers
    Silent,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Switch => "switch",
            Self::Rolling => "rolling",
            Self::Silent => "silent",
        })
    }
}

/// In the order in which they run.
impl Event {
    pub(crate) const ALL: &[Self] = &[
        Self::Kill,
        Self::Freeze,
        Self::Switch,
        Self::Rolling,
        Self::Silent,
    ];

    /// Carries it out and returns when the cluster is whole again; the cell says what an operator had to do for that. An
    /// error says that it did not take place.
    pub(super) async fn carry_out(
        self,
        cluster: &Cluster,
        workload: &mut Workload,
        cell: &mut Cell,
    ) -> Result<()> {
        // Not called `broker`: the checker holds that name to mean that nobody can take a message.
        let what = "node";
        workload.fault(what, Phase::Begin)?;
        match self {
            Self::Kill | Self::Silent => {
                let leader = cluster.leader(&workload.space).await?;
                cluster.control("kill", Some(leader)).await?;
                // Long enough that the cluster must have noticed and chosen another.
                sleep(AWAY).await;
                moved(cluster, workload, leader).await?;
                workload.fault(what, Phase::Mend)?;
                cluster.control("start", Some(leader)).await?;
            }
            Self::Freeze => {
                let leader = cluster.leader(&workload.space).await?;
                cluster.control("freeze", Some(leader)).await?;
                sleep(AWAY).await;
                // The node is thawed in any case, and only then is it told that nothing moved.
                let taken = moved(cluster, workload, leader).await;
                workload.fault(what, Phase::Mend)?;
                cluster.control("thaw", Some(leader)).await?;
                taken?;
                if cluster.rejoin(leader).await? {
                    cell.figure("restarted_node", leader);
                }
            }
            Self::Switch => {
                let leader = cluster.leader(&workload.space).await?;
                cluster.switch(&workload.space).await?;
                workload.fault(what, Phase::Mend)?;
                // A promotion takes as long as it takes; the pause says how long.
                sleep(Duration::from_secs(4)).await;
                moved(cluster, workload, leader).await?;
            }
            Self::Rolling => {
                // Only one at a time may be away, or the cluster would be gone and not only moved.
                for node in cluster.nodes() {
                    cluster.control("stop", Some(node)).await?;
                    cluster.control("start", Some(node)).await?;
                    cluster.until_whole(&workload.space).await?;
                    sleep(REST).await;
                }
                workload.fault(what, Phase::Mend)?;
            }
        }
        cluster.until_whole(&workload.space).await?;
        workload.fault(what, Phase::End)
    }
}

/// The proof that the event took place: another node leads now.
async fn moved(cluster: &Cluster, workload: &Workload, before: usize) -> Result<()> {
    if cluster.leader(&workload.space).await? == before {
        return Err(format!("node {before} still leads").into());
    }
    Ok(())
}
