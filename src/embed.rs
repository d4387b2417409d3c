//! A hub inside a program of your own: `HubBuilder` says how it is to be, `EmbeddedHub` is the
//! handle to it.
//!
//! Thin on purpose: everything here is done by the hub and the server, and `hubplane serve` uses
//! them as well. Nothing here knows the command line, the environment or files.

use std::{io, sync::Arc, thread, time::Duration};

use hubplane_backplane::{Address, Channel, Driver, Error, ErrorKind, Outgoing, Result};
use hubplane_hub::{ClientPosition, Health, Hub, Limits, Setup};
use hubplane_identity::Access;
use hubplane_server::{Mounts, Routes, Server, Shards, Tls, embedded};
use tokio::net::TcpListener;

use crate::backends;

/// Name of a hub that was given none, as logs and `/v1/backplane` show it.
const NODE: &str = "embedded";

/// Says how a hub is to be, and starts it.
///
/// ```no_run
/// # async fn example() -> hubplane::Result<()> {
/// use hubplane::HubBuilder;
///
/// let hub = HubBuilder::new("redis://127.0.0.1:6379").node("orders-1").start().await?;
/// hub.publish("orders.7", r#"{"state":"paid"}"#).await?;
/// let routes = hub.routes(); // beside your own routes, in `warp::serve`
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct HubBuilder {
    backplane: String,
    driver: Option<&'static dyn Driver>,
    node: String,
    limits: Limits,
    access: Access,
    threads: Option<usize>,
}

impl HubBuilder {
    /// Returns a builder for a hub on the broker at this address: `memory:`, `redis://…`, `kafka://…`, `amqp://…`, as `--backplane` takes it.
    pub fn new(backplane: impl Into<String>) -> Self {
        Self {
            backplane: backplane.into(),
            driver: None,
            node: NODE.to_owned(),
            limits: Limits::default(),
            access: Access::default(),
            threads: None,
        }
    }

    /// Opens the address with a backend of your own, whatever its scheme. By default the scheme chooses among
    /// [`backends::DRIVERS`].
    pub const fn driver(mut self, driver: &'static dyn Driver) -> Self {
        self.driver = Some(driver);
        self
    }

    /// This instance's name in logs and in `/v1/backplane`; `embedded` by default.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// What the hub allows; [`Limits::default`] by default.
    /// They are checked by [`HubBuilder::start`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Keys, rules and the pages that the hub lets in. By default nobody is known, and whoever reaches the routes may
    /// publish.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Threads that serve WebSockets, 1 to 64; one a core by default.
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Opens the backplane and starts the hub: its tasks on the current tokio runtime, its sockets on threads of its own.
    ///
    /// # Errors
    /// `Config`: the address can't be read, or its backend is not in this build. `Unavailable`: the broker can't be reached,
    /// or the operating system gives no more threads.
    pub async fn start(self) -> Result<EmbeddedHub> {
        let address: Address = self.backplane.parse()?;
        let driver = match self.driver {
            Some(driver) => driver,
            None => backends::find(address.scheme())?,
        };
        // The broker is reached here: from now on, a failure must not leave its connection open,
        // and dropping it closes it.
        let opened = driver.open(&address).await?;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let setup = Setup {
            node: self.node,
            driver,
            limits: self.limits,
            shards: self.threads.unwrap_or_else(cores),
        };
        let (hub, mailboxes) = Hub::start(opened, setup)?;
        let access = Arc::new(self.access);
        let shards =
            Shards::start(&hub, mailboxes, &access, &Mounts::default()).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "hub", "a thread can't be started")
                    .with_source(error)
            })?;
        Ok(EmbeddedHub {
            hub,
            shards,
            access,
        })
    }
}

/// A running hub; cheap to clone. [`EmbeddedHub::shutdown`] ends it, dropping it does not.
#[derive(Clone, Debug)]
// The threads end with the last clone of `shards`.
pub struct EmbeddedHub {
    hub: Arc<Hub>,
    shards: Shards,
    access: Arc<Access>,
}

impl EmbeddedHub {
    /// The hub's routes, for `warp::serve` beside your own: `/ws`, `/v1/…`, `/live`, `/ready`, `/metrics`. Requests for them
    /// are checked as the hub's own server checks them (`Host`, `Origin`, methods, lengths), and other paths are left alone.
    /// Your server itself must bound how long and how large a request's head may be, and how many connections there are.
    pub fn routes(&self) -> Routes {
        embedded(&self.shards, &self.access, &Mounts::default())
    }

    /// Serves the routes on a listener, for a program without an HTTP server of its own.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve(self, listener: TcpListener) -> io::Result<Server> {
        Server::start(self.shards, listener)
    }

    /// As [`EmbeddedHub::serve`], over TLS alone. `tls` is read by [`Tls::from_files`], which needs the feature `tls`; its
    /// files are looked at every few seconds, so a new certificate needs no restart.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve_tls(self, listener: TcpListener, tls: Tls) -> io::Result<Server> {
        Server::start_tls(self.shards, listener, tls)
    }

    /// Publishes one message and waits for the broker's acknowledgement. It comes back to this hub as to all others. Returns
    /// its position, which a client takes as `since`, where the broker keeps a log and tells.
    ///
    /// # Errors
    /// `Rejected`: the broker will never take it. `Unavailable`: it is not stored; try again. `Unknown`: it may be stored.
    /// `Closed`: the hub was shut down.
    pub async fn publish(
        &self,
        channel: impl Into<Channel>,
        data: impl Into<bytes::Bytes>,
    ) -> Result<Option<ClientPosition>> {
        // One message, so one answer; none at all means that the hub was closed meanwhile.
        let answers = self.publish_all(vec![Outgoing::new(channel, data)]).await;
        let closed = || Err(Error::new(ErrorKind::Closed, "hub", "it was shut down"));
        answers.into_iter().next().unwrap_or_else(closed)
    }

    /// Publishes messages in this order; one result for each, as [`EmbeddedHub::publish`] has it.
    /// An empty list gives an empty result.
    pub async fn publish_all(
        &self,
        messages: Vec<Outgoing>,
    ) -> Vec<Result<Option<ClientPosition>>> {
        let count = messages.len();
        self.hub
            .publish(messages)
            .await
            // The hub refuses the whole batch if too many messages wait; each of them gets that
            // answer.
            .unwrap_or_else(|_overloaded| {
                let full = || {
                    let message = "too many messages wait for the broker; try again";
                    Err(Error::new(ErrorKind::Unavailable, "hub", message))
                };
                (0..count).map(|_| full()).collect()
            })
    }

    /// Whether messages arrive from the broker.
    /// Does not ask the broker: it tells what the hub has seen of late.
    pub fn health(&self) -> Health {
        self.hub.health()
    }

    /// Waits until messages arrive from the broker, at most this long; returns whether they do.
    /// What this hub publishes itself must come back; returns at once if it has.
    pub async fn wait_until_ready(&self, timeout: Duration) -> bool {
        self.hub.heard(timeout).await
    }

    /// Tells every client to connect to another instance, spread evenly over `drain`, and leaves the broker.
    ///
    /// Waits until the broker's connection is closed. Publishing afterwards is an error (`Closed`);
    /// a second call does nothing more.
    pub async fn shutdown(&self, drain: Duration) {
        self.hub.end_sessions(drain).await;
        self.hub.close().await;
    }
}

#[cfg(test)]
mod tests {
    use hubplane_client::{Client, Event, Options};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_hub_starts_publishes_and_shuts_down() {
        let builder = HubBuilder::new("memory:").node("a").threads(1);
        let hub = builder.start().await.unwrap();
        assert!(hub.wait_until_ready(Duration::from_secs(10)).await);
        // The embedded log gives positions; a broker without a log would not.
        let position = hub.publish("jobs.1", "{}").await.unwrap();
        assert!(position.is_some());
        hub.shutdown(Duration::ZERO).await;
        // A handle that is left over must say that the hub is closed.
        let error = hub.publish("jobs.1", "{}").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }

    /// The connection is another server's, so the hub uses it through hyper's upgrade, not as a TCP stream of its own.
    #[tokio::test]
    async fn a_websocket_works_behind_the_applications_own_server() {
        // Room for all messages, as this test is not about slow clients.
        let limits = Limits {
            outbox_bytes: 64 << 20,
            ..Limits::default()
        };
        let builder = HubBuilder::new("memory:").threads(1).limits(limits);
        let hub = builder.start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(warp::serve(hub.routes()).incoming(listener).run());
        let (client, mut events) = Client::connect(Options::new([&*url])).await.unwrap();
        client.subscribe("c", None).await.unwrap();
        let first = timeout(PATIENCE, events.next()).await.unwrap();
        assert!(matches!(first, Some(Event::Subscribed { .. })), "{first:?}");
        // More than a socket takes at once, so that some of it must wait.
        let text = "x".repeat(50_000);
        // In order and without a gap: what had to wait must not be lost or overtaken.
        let numbers = 0..200;
        for number in numbers.clone() {
            hub.publish("c", format!("[{number},\"{text}\"]"))
                .await
                .unwrap();
        }
        for number in numbers {
            let event = timeout(PATIENCE, events.next()).await.unwrap();
            let Some(Event::Message(message)) = event else {
                panic!("instead of message {number}: {event:?}");
            };
            let head = format!("[{number},");
            assert!(message.data.get().starts_with(&head), "not {number}");
        }
        client.close().await;
        hub.shutdown(Duration::ZERO).await;
    }

    /// The hub's paths are guarded in another server as in its own, and that server's other paths are left alone.
    #[tokio::test]
    async fn requests_behind_the_applications_own_server_are_checked() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use warp::Filter as _;

        let access = Access::new(hubplane_identity::AccessConfig {
            origins: vec!["https://app.example".to_owned()],
            hosts: hubplane_identity::Hosts::Named(vec!["hub.example".to_owned()]),
            ..Default::default()
        })
        .unwrap();
        let builder = HubBuilder::new("memory:").threads(1).access(access);
        let hub = builder.start().await.unwrap();
        // The application's own path, which the hub must leave alone.
        let own = warp::path!("own").map(|| "mine");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = hub.routes().or(own);
        tokio::spawn(warp::serve(routes).incoming(listener).run());
        // One request on a connection of its own; the answer in small letters, since header names
        // have no case.
        let ask = async |request: &str| {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("{request}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer.to_lowercase()
        };
        // A wrong method on the hub's path is the hub's to answer (RFC 9110, section 15.5.6).
        let answer = ask("DELETE /v1/publish HTTP/1.1\r\nHost: hub.example").await;
        assert!(
            answer.contains(" 405 ") && answer.contains("allow: post"),
            "{answer}"
        );
        // Another name than the hub answers to (421, RFC 9110, section 15.5.20).
        let answer = ask("GET /ready HTTP/1.1\r\nHost: evil.example").await;
        assert!(answer.contains(" 421 "), "{answer}");
        // A page's preflight request, and then its real one.
        let page = "Host: hub.example\r\nOrigin: https://app.example";
        let answer = ask(&format!("OPTIONS /v1/publish HTTP/1.1\r\n{page}")).await;
        assert!(
            answer.contains(" 204 ") && answer.contains("access-control-max-age"),
            "{answer}"
        );
        let answer = ask(&format!("GET /v1/channels/c/presence HTTP/1.1\r\n{page}")).await;
        assert!(
            answer.contains(" 200 ") && answer.contains("nosniff"),
            "{answer}"
        );
        assert!(
            answer.contains("access-control-allow-origin: https://app.example"),
            "{answer}"
        );
        // The wrong name does not matter on the application's own path.
        let answer = ask("GET /own HTTP/1.1\r\nHost: evil.example").await;
        assert!(
            answer.contains(" 200 ") && answer.ends_with("mine"),
            "{answer}"
        );
        hub.shutdown(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_backend_that_is_not_there_is_an_error() {
        // No such scheme; the error comes before anything is opened.
        let error = HubBuilder::new("pigeon:").start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
