//! Which node carries the messages now: found when connecting, and watched while connected. The one
//! place where a single server, Sentinels and a Cluster differ.
//!
//! The rule behind it: all connections of all instances must meet at one master, or in a Cluster at
//! nodes that see each other; otherwise messages vanish without an error. Connecting is tried once
//! here; the loops that try again are the callers'.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hubplane_backplane::Result;
use tokio::{
    select,
    time::{sleep, timeout},
};

use crate::{
    cluster::{in_good_state, serving},
    config::{Config, Node, Site},
    connection::{ANSWER_LIMIT, Link, within_limit},
    failure, hello,
    inbox::Inbox,
    sentinel::Sentinels,
};
use hubplane_kit::race;

/// How often a Cluster node in use is asked whether it still sees the others.
const CLUSTER_CHECK: Duration = Duration::from_secs(1);
/// How often it is asked again where a slot is, while the node that was named for it doesn't
/// answer: a failover ends by naming another.
const SLOT_CHECK: Duration = Duration::from_millis(500);

/// Connects all tasks of one instance, so that they use the same nodes.
pub(crate) struct Dialer {
    pub(crate) config: Arc<Config>,
    sentinels: Option<Sentinels>,
    /// The Cluster node that answered last where a slot is. Spares each connection the wait for a
    /// dead one.
    good: Mutex<Option<Node>>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// Returns a dialer. With Sentinels it begins to ask them, so it must be called on the
    /// instance's runtime.
    pub(crate) fn new(config: Arc<Config>) -> Arc<Self> {
        let sentinels = match &config.site {
            Site::Sentinel {
                nodes,
                master,
                login,
            } => Some(Sentinels::ask(&config, nodes, master, login)),
            Site::Server(_) | Site::Cluster(_) => None,
        };
        Arc::new(Self {
            config,
            sentinels,
            good: Mutex::default(),
        })
    }

    /// Connects to the node that carries the messages now; with a slot, in a Cluster, to the node
    /// that serves it. Doesn't try again, and takes a few seconds at most.
    pub(crate) async fn dial(&self, slot: Option<u16>, inbox: Option<Arc<Inbox>>) -> Result<Link> {
        match (&self.config.site, &self.sentinels) {
            (Site::Cluster(nodes), _) => {
                let link = self.member(nodes, slot.is_some(), inbox.clone()).await?;
                match slot {
                    Some(slot) => self.owner(link, slot, inbox).await,
                    None => Ok(link),
                }
            }
            (Site::Server(node), _) => self.master(node, inbox).await,
            (Site::Sentinel { .. }, Some(sentinels)) => {
                let mut node = sentinels.master().await?;
                // A master that stands still takes the connection and never answers. Once the Sentinels name another
                // one, waiting for it any longer only adds to the pause.
                loop {
                    select! {
                        biased;
                        link = self.master(&node, inbox.clone()) => return link,
                        another = sentinels.moved(&node) => node = another,
                    }
                }
            }
            (Site::Sentinel { .. }, None) => {
                unreachable!("invariant: a Sentinel site asks Sentinels")
            }
        }
    }

    /// Returns once a connection can no longer be used, with the reason for the log: it broke, or
    /// another node has taken over. May be dropped at any await.
    pub(crate) async fn lost(&self, link: &mut Link) -> String {
        let (node, mut connection) = (link.node.clone(), link.connection.clone());
        let moved = async {
            match (&self.config.site, &self.sentinels) {
                (_, Some(sentinels)) => {
                    let master = sentinels.moved(&node).await;
                    format!("the Sentinels made {master} the master, it was {node}")
                }
                // An answer that is late is `link.ended`'s matter: there silence is measured.
                (Site::Cluster(_), None) => loop {
                    sleep(CLUSTER_CHECK).await;
                    let state = in_good_state(&mut connection, &node);
                    if let Ok(Err(error)) = timeout(ANSWER_LIMIT, state).await {
                        break error.message().to_owned();
                    }
                },
                (_, None) => pending().await,
            }
        };
        select! {
            biased;
            reason = moved => reason,
            reason = link.ended(!self.config.is_cluster()) => reason,
        }
    }

    async fn open(&self, node: &Node, inbox: Option<Arc<Inbox>>) -> Result<Link> {
        Box::pin(Link::open(&self.config, &self.config.login, node, inbox)).await
    }

    /// Connects to a server, and makes sure that it is a master.
    async fn master(&self, node: &Node, inbox: Option<Arc<Inbox>>) -> Result<Link> {
        let mut link = self.open(node, inbox).await?;
        match hello::is_replica(&link.hello().await?) {
            true => Err(failure::of_replica(node, self.sentinels.is_some())),
            false => Ok(link),
        }
    }

    /// Connects to a Cluster node that sees most of the others. With publish and subscribe,
    /// instances prefer the same one, the first of the address. With `any`, for a slot, each node
    /// knows the answer, and the one that answered last is asked first.
    async fn member(&self, nodes: &[Node], any: bool, inbox: Option<Arc<Inbox>>) -> Result<Link> {
        let mut nodes: Vec<_> = nodes.iter().collect();
        let good = self.good().clone().filter(|_| any);
        // A stable sort: all others keep their order.
        nodes.sort_by_key(|node| Some(*node) != good.as_ref());
        let tries = nodes.into_iter().map(|node| {
            let inbox = inbox.clone();
            async move {
                let mut link = self.open(node, inbox).await?;
                within_limit(node, in_good_state(&mut link.connection, node)).await?;
                Ok(link)
            }
        });
        let link = race::first(tries).await.map_err(failure::telling)?;
        *self.good() = Some(link.node.clone());
        Ok(link)
    }

    /// Returns a connection to the node that serves a slot, as `member` knows it. While that node
    /// doesn't answer, asks on: another may take its place, and then that one is tried.
    async fn owner(&self, mut member: Link, slot: u16, inbox: Option<Arc<Inbox>>) -> Result<Link> {
        let asked = member.node.clone();
        let first = serving(slot, &mut member.connection, &asked);
        let mut owner = within_limit(&asked, first).await?;
        loop {
            if owner == asked {
                return Ok(member);
            }
            let another = async {
                loop {
                    sleep(SLOT_CHECK).await;
                    let now = serving(slot, &mut member.connection, &asked);
                    let now = within_limit(&asked, now).await?;
                    if now != owner {
                        return Ok(now);
                    }
                }
            };
            let next = select! {
                link = self.open(&owner, inbox.clone()) => return link,
                next = another => next?,
            };
            owner = next;
        }
    }

    fn good(&self) -> std::sync::MutexGuard<'_, Option<Node>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
