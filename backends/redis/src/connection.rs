//! One connection to one node: how it is opened, and how it is found out that it can no longer be used.
//! Which node that is, is decided in [`crate::dial`]; what is sent, by those who hold the
//! connection.
//!
//! A server that is frozen, or cut off without a word, keeps its connections open for minutes. So
//! each one carries a question every second (`HELLO`, which any user may ask:
//! <https://redis.io/docs/latest/commands/hello/>), and is given up after 3.5 s without a byte.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use hubplane_backplane::Result;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value, aio::MultiplexedConnection};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    config::{Config, Node},
    failure, hello,
    inbox::Inbox,
    socket::{Meter, Socket},
};

/// How long connecting to one node may take, from the name lookup to the login.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// How long after its last answer the node is asked again what it is.
const CHECK: Duration = Duration::from_secs(1);
/// How often the count of bytes is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a node may take to answer a question while it sends nothing else either.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_millis(2500);

/// An open connection, logged in and with its database selected. Dropping it closes it.
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) node: Node,
    pub(crate) meter: Arc<Meter>,
    inbox: Option<Arc<Inbox>>,
    /// The library's task that reads and writes. Its end is the connection's end.
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
    /// Connects and logs in. With an inbox, messages of subscriptions go there. Tries once, within
    /// 4 s; the error says what to do.
    pub(crate) async fn open(
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
            // Every wait has a limit of its own here; the library's 500 ms would be one more, and
            // shorter. The boundary is how many bytes wait in the library before a writer has to
            // wait, too.
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
            // The library only says that the connection is gone; the socket knows why.
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

    /// Ends the connection at once. Whoever waits for an answer gets an error.
    pub(crate) fn abort(&self) {
        self.driver.abort();
    }

    /// Returns once the connection can no longer be used, with the reason for the log: it broke, the
    /// node is silent, or, with `master_only`, the node has become a replica.
    pub(crate) async fn ended(&mut self, master_only: bool) -> String {
        let (connection, meter) = (self.connection.clone(), Arc::clone(&self.meter));
        let inbox = self.inbox.clone();
        let node = &self.node;
        tokio::select! {
            _ended = &mut self.driver => match meter.take_fault() {
                Some(error) => format!("the connection to {node} broke: {error}"),
                None => format!("{node} closed the connection"),
            },
            trouble = trouble(connection, &meter, inbox.as_deref(), master_only) => match trouble {
                Trouble::Silent => format!("{node} gave no sign of life for {:?}", CHECK + ANSWER_LIMIT),
                Trouble::Replica => format!("{node} has become a replica; another server is the master now"),
            },
        }
    }

    /// Asks the node what it is; see [`hello`] for reading the answer.
    pub(crate) async fn hello(&mut self) -> Result<Value> {
        let asking = async {
            let answer = hello::question().query_async(&mut self.connection).await;
            answer.map_err(|error| failure::of_login(&self.node, error))
        };
        within_limit(&self.node, asking).await
    }
}

/// Applies the limit for connecting to `work`: also to each question that belongs to finding the
/// right node.
pub(crate) async fn within_limit<T>(
    node: &Node,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(CONNECT_LIMIT, work).await.unwrap_or_else(|_elapsed| {
        // A Redis port without TLS takes the handshake for an unfinished command and waits for its end.
        Err(failure::unavailable(format!(
            "{node} did not answer within {CONNECT_LIMIT:?}; where the address says rediss://, its port must speak TLS"
        )))
    })
}

/// Why a connection that is still open is of no use.
enum Trouble {
    Silent,
    Replica,
}

/// Asks the node each second what it is, and returns once it is silent or, with `master_only`, a
/// replica. Silence is a fault for certain: a question is always on its way, or will be within a
/// second, so a node that lives sends something.
async fn trouble(
    connection: MultiplexedConnection,
    meter: &Meter,
    inbox: Option<&Inbox>,
    master_only: bool,
) -> Trouble {
    let (mut read, mut heard) = (meter.read(), Instant::now());
    let mut question = pin!(ask(connection.clone()));
    loop {
        tokio::select! {
            is_replica = &mut question => {
                if master_only && is_replica {
                    return Trouble::Replica;
                }
                question.set(ask(connection.clone()));
            }
            () = sleep(LOOK) => {}
        }
        // Silence proves nothing while reading waits for the hub.
        let waits = inbox.is_some_and(|inbox| !inbox.is_open());
        if waits || meter.read() != read {
            (read, heard) = (meter.read(), Instant::now());
        } else if heard.elapsed() >= CHECK + ANSWER_LIMIT {
            return Trouble::Silent;
        }
    }
}

/// Waits a second, asks, and returns true if the node is a replica. A refusal says nothing about
/// that, and a broken connection is noticed by its driver.
async fn ask(mut connection: MultiplexedConnection) -> bool {
    sleep(CHECK).await;
    let answer = connection.send_packed_command(&hello::question()).await;
    answer.is_ok_and(|answer| hello::is_replica(&answer))
}
