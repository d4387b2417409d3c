//! One connection to one node: how it is found, opened, watched and found again.

use std::{fmt, future::pending, sync::Arc, time::Duration};

use hubplane_backplane::{Error, ErrorKind, Result};
use redis::{
    AsyncConnectionConfig, RedisConnectionInfo, RedisResult, Value, aio::MultiplexedConnection, cmd,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    cluster::{in_good_state, serving},
    config::{Config, Node, Site},
    failure,
    inbox::Inbox,
    socket::{Meter, Socket},
};

/// For one node, from the name lookup to the login.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// Without a byte for this long, the node is asked for a sign of life …
const IDLE: Duration = Duration::from_secs(1);
/// … which it must give within this time.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);
/// How often the Sentinels, or the Cluster node itself, are asked whether this is still the right node.
const SITE_CHECK: Duration = Duration::from_secs(5);

/// An open connection. Dropping it closes it.
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) node: Node,
    pub(crate) meter: Arc<Meter>,
    inbox: Option<Arc<Inbox>>,
    driver: JoinHandle<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.node).finish()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    async fn open(
        config: &Config,
        login: &RedisConnectionInfo,
        node: &Node,
        inbox: Option<Arc<Inbox>>,
    ) -> Result<Self> {
        let opening = async {
            let socket = Socket::connect(node, config.tls.as_ref(), inbox.clone())
                .await
                .map_err(|error| failure::of_socket(node, error))?;
            let meter = Arc::clone(&socket.meter);
            // Every wait has a limit of its own here; the library's 500 ms would be one more.
            let mut settings = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None)
                .set_write_backpressure_boundary(64 * 1024);
            if let Some(inbox) = inbox.clone() {
                settings = settings.set_push_sender(move |info| {
                    inbox.push(info);
                    Ok::<_, redis::aio::SendError>(())
                });
            }
            let opened = Box::pin(MultiplexedConnection::new_with_config(
                login, socket, settings,
            ))
            .await;
            let (connection, driver) = opened.map_err(|error| match meter.take_fault() {
                Some(fault) => failure::of_socket(node, fault),
                None => failure::of_login(node, error),
            })?;
            Ok(Self {
                connection,
                node: node.clone(),
                meter,
                inbox: inbox.clone(),
                driver: tokio::spawn(driver),
            })
        };
        within_limit(node, opening).await
    }

    /// Ends the connection; who waits for an answer gets an error.
    pub(crate) fn abort(&self) {
        self.driver.abort();
    }

    /// Returns once the connection is of no more use, with the reason.
    pub(crate) async fn lost(&mut self, config: &Config) -> String {
        let connection = self.connection.clone();
        let (meter, inbox) = (Arc::clone(&self.meter), self.inbox.clone());
        let node = &self.node;
        tokio::select! {
            _ended = &mut self.driver => match meter.take_fault() {
                Some(error) => format!("the connection to {node} broke: {error}"),
                None => format!("{node} closed the connection"),
            },
            () = silence(connection.clone(), &meter, inbox.as_deref()) => {
                format!("{node} gave no sign of life for {:?}", IDLE + ANSWER_LIMIT)
            }
            reason = moved(connection, config, node) => reason,
        }
    }
}

async fn within_limit<T>(node: &Node, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(CONNECT_LIMIT, work).await.unwrap_or_else(|_elapsed| {
        // A Redis port without TLS takes the handshake for an unfinished command and waits for its end.
        Err(failure::unavailable(format!(
            "{node} did not answer within {CONNECT_LIMIT:?}; where the address says rediss://, its port must speak TLS"
        )))
    })
}

/// Returns once the node has neither sent a byte for [`IDLE`] nor answered within [`ANSWER_LIMIT`].
async fn silence(mut connection: MultiplexedConnection, meter: &Meter, inbox: Option<&Inbox>) {
    loop {
        let before = meter.read();
        sleep(IDLE).await;
        let alive = || meter.read() != before || inbox.is_some_and(|inbox| !inbox.is_open());
        if alive() {
            continue;
        }
        // Any answer is one, a refusal too: a user may lack the right to PING.
        let answer = timeout(ANSWER_LIMIT, connection.send_packed_command(&cmd("PING"))).await;
        if answer.is_err() && !alive() {
            return;
        }
    }
}

/// Returns once the node is no longer the one that carries the messages, with the reason.
async fn moved(mut connection: MultiplexedConnection, config: &Config, node: &Node) -> String {
    loop {
        sleep(SITE_CHECK).await;
        match &config.site {
            Site::Server(_) => pending().await,
            Site::Sentinel { .. } => match Box::pin(master(config)).await {
                Ok(master) if master != *node => {
                    return format!("the Sentinels made {master} the master, it was {node}");
                }
                // Sentinels that are away say nothing about the master.
                Ok(_) | Err(_) => {}
            },
            Site::Cluster(_) => {
                if let Ok(Err(error)) =
                    timeout(ANSWER_LIMIT, in_good_state(&mut connection, node)).await
                {
                    return error.message().to_owned();
                }
            }
        }
    }
}

/// Connects to the node that carries the messages now: one try for each candidate. With a slot, in a Cluster, to the
/// node that serves it.
pub(crate) async fn dial(
    config: &Config,
    slot: Option<u16>,
    inbox: Option<Arc<Inbox>>,
) -> Result<Link> {
    match &config.site {
        Site::Server(node) => Link::open(config, &config.login, node, inbox).await,
        Site::Sentinel { .. } => {
            let node = master(config).await?;
            let mut link = Link::open(config, &config.login, &node, inbox).await?;
            within_limit(&node, is_master(&mut link)).await?;
            Ok(link)
        }
        Site::Cluster(nodes) => {
            let mut errors = Vec::new();
            for node in nodes {
                let opened = async {
                    let mut link = Link::open(config, &config.login, node, inbox.clone()).await?;
                    within_limit(node, in_good_state(&mut link.connection, node)).await?;
                    let Some(slot) = slot else { return Ok(link) };
                    let owner = serving(slot, &mut link.connection, node);
                    match within_limit(node, owner).await? {
                        owner if owner == *node => Ok(link),
                        owner => Link::open(config, &config.login, &owner, inbox.clone()).await,
                    }
                };
                match opened.await {
                    Ok(link) => return Ok(link),
                    Err(error) => errors.push(error),
                }
            }
            Err(telling(errors))
        }
    }
}

/// The error that helps most: what is wrong stays wrong, what is away may come back.
fn telling(mut errors: Vec<Error>) -> Error {
    let config = errors
        .iter()
        .position(|error| error.kind() == ErrorKind::Config);
    match config {
        Some(index) => errors.swap_remove(index),
        None => errors
            .pop()
            .unwrap_or_else(|| failure::unavailable("no node is named")),
    }
}

/// Asks the Sentinels, one after the other, for the master's address.
async fn master(config: &Config) -> Result<Node> {
    let Site::Sentinel {
        nodes,
        master,
        login,
    } = &config.site
    else {
        unreachable!("invariant: only a Sentinel site has a master");
    };
    let mut errors = Vec::new();
    for node in nodes {
        let asked = async {
            let mut link = Link::open(config, login, node, None).await?;
            let mut question = cmd("SENTINEL");
            question.arg("get-master-addr-by-name").arg(master);
            let answer = question.query_async(&mut link.connection).await;
            let answer: Option<(String, u16)> =
                answer.map_err(|error| failure::of_login(node, error))?;
            Ok(answer)
        };
        match within_limit(node, asked).await {
            Ok(Some((name, port))) => return Ok(Node { name, port }),
            Ok(None) => errors.push(failure::config(format!(
                "the Sentinel {node} watches no master named {master:?}; the key \"sentinel\" is that name"
            ))),
            Err(error) => errors.push(error),
        }
    }
    Err(telling(errors))
}

/// A Sentinel may still name a node that has just been demoted.
async fn is_master(link: &mut Link) -> Result<()> {
    let role: RedisResult<Vec<Value>> = cmd("ROLE").query_async(&mut link.connection).await;
    let node = &link.node;
    match role {
        Ok(role) => match role.first() {
            Some(Value::BulkString(role)) if role != b"master" => Err(failure::unavailable(
                format!("{node}, which the Sentinels call the master, is a replica"),
            )),
            _ => Ok(()),
        },
        // A user may lack the right to ask; then the Sentinels' word has to do.
        Err(error) if error.code() == Some("NOPERM") => Ok(()),
        Err(error) => Err(failure::of_login(node, error)),
    }
}

/// The waits between tries: at once, then doubling to a second, each cut at random so that instances that lost
/// the same broker don't come back in the same millisecond.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
    since: Option<Instant>,
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(1);
    /// A connection that lived so long begins anew; one that breaks at once goes on waiting longer.
    const STEADY: Duration = Duration::from_secs(5);

    /// After the loss of a connection that came up at `since`.
    pub(crate) fn lost(&mut self, since: Instant) {
        if since.elapsed() >= Self::STEADY {
            self.tries = 0;
        }
        self.since = Some(Instant::now());
    }

    pub(crate) async fn wait(&mut self) {
        sleep(self.next()).await;
    }

    /// For the log: how long it took.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn next(&mut self) -> Duration {
        let ceiling = Duration::from_millis(20 << self.tries.min(6)).min(Self::LONGEST);
        self.tries += 1;
        // Without randomness the waits are merely not jittered.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let half = ceiling / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_differ() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] <= Duration::from_millis(20));
        assert!(waits.iter().all(|wait| *wait <= Backoff::LONGEST));
        assert!(waits[10..].iter().all(|wait| *wait >= Backoff::LONGEST / 2));
        assert_ne!(waits[20], waits[21]);
    }
}
