//! Redis that fails over, by Sentinel or as a Cluster: who leads, how leadership moves, and the plain client.

use std::time::Duration;

use tokio::{
    process::Command,
    time::{MissedTickBehavior, interval, timeout},
};

use super::notes::{EVERY, Notes};
use crate::{Result, workload::resp::Resp};

/// An answer that takes longer counts as none.
const LIMIT: Duration = Duration::from_secs(1);
/// It lies in the slot of the hubs' first stream, so the same master has both.
const KEY: &str = "plain:{0}";

/// The processes by their ports, and how to ask them who leads.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    /// Six, in the order of the nodes' numbers.
    pub(super) ports: Vec<u16>,
    /// A Redis Cluster; else the last three are Sentinels.
    pub(super) cluster: bool,
}

impl Roles {
    /// The port of the master that has the hubs' first stream.
    pub(super) async fn leader(&self) -> Result<u16> {
        let ask = if self.cluster {
            &self.ports
        } else {
            &self.ports[3..]
        };
        for port in ask {
            if let Ok(Some(leader)) = self.ask(*port).await {
                return Ok(leader);
            }
        }
        Err("no node says who leads".into())
    }

    /// Asks one node. `None` if it does not know, as one that is cut off from the others.
    async fn ask(&self, port: u16) -> Result<Option<u16>> {
        if !self.cluster {
            // Two lines: host and port.
            let said = cli(port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).await?;
            return Ok(said
                .lines()
                .nth(1)
                .and_then(|port| port.trim().parse().ok()));
        }
        // A node that does not have the slot names the one that has it.
        let said = cli(port, &["GET", KEY]).await?;
        if let Some(moved) = said.strip_prefix("MOVED ") {
            return Ok(moved
                .rsplit(':')
                .next()
                .and_then(|port| port.trim().parse().ok()));
        }
        // Another error, such as CLUSTERDOWN, starts with a word in capitals; values here are numbers, or nothing.
        Ok((!said.starts_with(|sign: char| sign.is_ascii_uppercase())).then_some(port))
    }

    /// Asks for a planned failover, away from the master that leads now.
    pub(super) async fn switch(&self) -> Result<()> {
        let said = if self.cluster {
            let replica = self.replica_of(self.leader().await?).await?;
            cli(replica, &["CLUSTER", "FAILOVER"]).await?
        } else {
            cli(self.ports[3], &["SENTINEL", "FAILOVER", "mymaster"]).await?
        };
        if said.trim() != "OK" {
            return Err(format!("the failover was refused: {said}").into());
        }
        Ok(())
    }

    /// The port of a replica, which must be the one to ask for a failover in a Redis Cluster.
    async fn replica_of(&self, master: u16) -> Result<u16> {
        let id = cli(master, &["CLUSTER", "MYID"]).await?;
        let nodes = cli(master, &["CLUSTER", "NODES"]).await?;
        // ID HOST:PORT@BUS FLAGS MASTER …
        let line = nodes
            .lines()
            .find(|line| line.split(' ').nth(3) == Some(id.trim()))
            .ok_or("the master has no replica")?;
        let address = line.split(['@', ' ']).nth(1).ok_or("no address")?;
        Ok(address.rsplit(':').next().ok_or("no port")?.parse()?)
    }
}

/// What redis-cli prints, an error reply included; an error if the node does not answer within a second.
async fn cli(port: u16, words: &[&str]) -> Result<String> {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(words)
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, output).await??;
    // redis-cli prints errors of the connection on either output.
    let said = String::from_utf8(output.stdout)?;
    if said.starts_with("Could not connect") || !output.stderr.is_empty() && said.is_empty() {
        return Err(format!("port {port} does not answer").into());
    }
    Ok(said)
}

/// Writes a number at the master and reads it back, each 50 ms; after an error it asks anew who leads.
pub(super) async fn probe(roles: Roles, notes: Notes) -> Result<()> {
    let mut tick = interval(EVERY);
    // A number that is late is not made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut link = None;
    let mut number = 0_u64;
    while !notes.is_ended() {
        tick.tick().await;
        number += 1;
        match timeout(LIMIT, once(&roles, &mut link, number)).await {
            Ok(Ok(())) => notes.arrived(0),
            Ok(Err(_)) | Err(_) => link = None,
        }
    }
    Ok(())
}

/// Writes and reads once, on a connection that is made if there is none.
async fn once(roles: &Roles, link: &mut Option<Resp>, number: u64) -> Result<()> {
    if link.is_none() {
        let leader = roles.leader().await?;
        *link = Some(Resp::connect(&format!("127.0.0.1:{leader}")).await?);
    }
    let link = link.as_mut().ok_or("no connection")?;
    let number = number.to_string();
    link.ask(&["SET", KEY, &number]).await?;
    // A master that was replaced may answer with an older number.
    if link.ask(&["GET", KEY]).await? != number {
        return Err("another number came back".into());
    }
    Ok(())
}
