//! Redis, by `PUBLISH` and `SUBSCRIBE`: nothing is stored, and what is lost is announced. A second backend keeps
//! messages in Redis's streams: see [`streams`].
//!
//! # Address
//! `redis://[user[:password]@]host[:port][/database][?key=value&…]`, with TLS `rediss://`. Redis 6 or newer.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `prefix` | stands before each channel's name on the broker | `hubplane:` |
//! | `envelope` | `auto`: metadata travels in an envelope; `never`: it does not travel, and none is looked for | `auto` |
//! | `password` | instead of the one behind the user; `env:NAME` and `file:PATH` are read | |
//! | `ca` | PEM file of the authorities to trust (`rediss` only) | the system's |
//! | `cert`, `key` | PEM files of a client certificate (`rediss` only) | |
//! | `sentinel` | the hosts are Sentinels (port 26379); the master's name | |
//! | `sentinel-user`, `sentinel-password` | the login at the Sentinels | none |
//! | `cluster` | `true`: the hosts are nodes of a Cluster | `false` |
//!
//! The Redis channel is the prefix and the channel's name, byte for byte; no pattern is ever used, so no character
//! means anything. Publish and subscribe ignore databases: the number in the path is selected on the connections,
//! but it separates nothing. Two prefixes keep hubs apart unless one begins with the other.
//!
//! An ACL user needs the channels under the prefix and the commands `publish`, `subscribe` and `unsubscribe` (`ACL
//! SETUSER app on >secret resetchannels &hubplane:* -@all +publish +subscribe +unsubscribe`); with Cluster better
//! `cluster|nodes` too. If one of the first three is missing, opening fails and says so. At the Sentinels a user
//! needs `sentinel`, and better `subscribe` with the channels `+switch-master` and `+promoted-slave`.
//!
//! The server must be a master: what is published at a replica doesn't reach those who are connected to its master.
//!
//! # Delivery
//! At most once. A publish is acknowledged when Redis has answered it: by then it has passed the message on to all
//! that were subscribed at that node, and kept it nowhere. What arrives while this instance's connection is down is
//! lost to it, and announced by a `Gap` that names the channels of interest at the time of the loss, sent once they
//! are subscribed again and before their next message.
//!
//! Redis has no headers. A message with an id, an origin or tags has them in an envelope, one line in front of the
//! data (`hubplane_backplane::wire`); a bare payload is valid input. An envelope that can't be read is a `Gap` of
//! its channel.
//!
//! A hub that takes its events too slowly stops this backend from reading; Redis then queues up to its
//! `client-output-buffer-limit pubsub` (8 MB for a minute, 32 MB at once, by default) and cuts the connection,
//! which is a loss like any other. Nothing is dropped on this side.
//!
//! # Order
//! Each publisher's messages of a channel arrive in the order of publishing: one task writes them to one
//! connection. On a single server all instances even see one order of all publishers, since Redis executes one
//! command at a time. That is not declared, because it does not hold for every address: between the nodes of a
//! Cluster, messages of two publishers may cross, and so they may on two masters while Sentinel moves from one to
//! the other.
//!
//! A publish that was answered `Unknown`, because its connection froze, may still be carried out by Redis when it
//! thaws: after others that were published later on the next connection.
//!
//! # History
//! None: no positions, no replay.
//!
//! # Reconnection
//! Two connections, each with its own loop: tries at growing waits of up to a second, cut at random. The backend
//! notices a broken connection at once, and a dead one, frozen or cut off without a word, within 4 s: it asks Redis
//! each second what it is (`HELLO`, which any user may), and gives it up after 3.5 s without a byte. A server that
//! has become a replica is left within 3 s, and what it took meanwhile is `Unknown`: the question for its role goes
//! behind each pipeline of publications. A publish waits for the next try while its connection is down and is
//! `Unavailable` when that fails; it is `Unknown` when the connection broke under it. Nothing is published twice by
//! this backend.
//!
//! With `sentinel`, all Sentinels of the address are asked for the master each second, and as soon as one announces
//! a switch; the latest decision counts (`config-epoch`), and both connections move to that master at once.
//! Addresses that don't answer cost no time: Sentinels, Cluster nodes and the addresses of a name are tried side by
//! side, 250 ms apart. With `cluster`, the first node of the address that sees most of the masters serves both
//! connections, and the next one takes over when it fails: a Cluster passes each plain `PUBLISH` on to all its
//! nodes, so any one will do, and as long as all instances use the same, no message depends on the links between
//! nodes. A message that such a link loses is lost without a sign from Redis; the hub's own numbering sees it.
//!
//! A channel that Redis forbids when it is subscribed again, because somebody has narrowed the user's rights, is
//! reported by `Refused`; all others go on.
//!
//! `renew` subscribes anew on another connection, with a `Gap`.
//!
//! # What it creates
//! Nothing on the broker: subscriptions end with the connection. At the start one empty message is published to
//! `{prefix}$hubplane/probe`, to make sure that the user may publish.

mod backend;
mod cluster;
mod config;
mod connection;
mod consume;
mod dial;
mod failure;
mod hello;
mod inbox;
mod instance;
mod interest;
mod outbox;
mod outlet;
mod pipeline;
mod publish;
mod sentinel;
mod socket;
mod spaces;
pub mod streams;

use std::sync::Arc;

use async_trait::async_trait;
use hubplane_backplane::{Address, Capabilities, Driver, Opened, Result, events};
use hubplane_kit::limits;
use redis::cmd;
use tokio::time::timeout;

use crate::{
    backend::{CAPABILITIES, EVENTS},
    config::{Config, PubSub},
    connection::Link,
    dial::Dialer,
    inbox::Inbox,
    instance::Instance,
};

pub use crate::streams::STREAMS_DRIVER;

/// The backend for `redis://` and `rediss://`.
pub static DRIVER: RedisDriver = RedisDriver;

/// Opens Redis addresses.
#[derive(Debug)]
pub struct RedisDriver;

#[async_trait]
impl Driver for RedisDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["redis", "rediss"]
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        let pubsub = Arc::new(PubSub::read(address)?);
        match timeout(limits::OPEN, Box::pin(open(pubsub))).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(failure::unavailable(format!(
                "{address} did not answer within {:?}",
                limits::OPEN
            ))),
        }
    }
}

async fn open(pubsub: Arc<PubSub>) -> Result<Opened> {
    let inbox = Arc::new(Inbox::default());
    let dialer = Dialer::new(Arc::clone(&pubsub.server));
    let mut subscriber = dialer.dial(None, Some(Arc::clone(&inbox))).await?;
    let mut publisher = dialer.dial(None, None).await?;
    probe(&pubsub.server, &mut subscriber, &mut publisher).await?;
    let (sender, events) = events(EVENTS);
    let instance = Instance::start((pubsub, dialer), (subscriber, inbox), publisher, sender);
    Ok(Opened {
        backplane: Arc::new(instance),
        events,
    })
}

/// Does once what will be done later, so that a user without the rights is told now.
async fn probe(config: &Config, subscriber: &mut Link, publisher: &mut Link) -> Result<()> {
    let channel = format!("{}$hubplane/probe", config.prefix);
    let node = subscriber.node.clone();
    let probing = async {
        subscriber.connection.subscribe(&channel).await?;
        let mut publish = cmd("PUBLISH");
        publish.arg(&channel).arg("");
        publish.exec_async(&mut publisher.connection).await?;
        subscriber.connection.unsubscribe(&channel).await
    };
    probing
        .await
        .map_err(|error| failure::of_probe(&node, &config.prefix, error))
}
