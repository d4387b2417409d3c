//! The RabbitMQ backends. This page is about the first, `amqp:`; the second, with positions and history, is
//! [`streams`].
//!
//! The first: one fanout exchange for all channels, one queue for each instance, over AMQP 0-9-1.
//!
//! A message is what an AMQP program expects: exchange `hubplane`, routing key = channel, body = data, metadata in
//! headers. Any program may publish the same way; headers are optional:
//!
//! ```text
//! rabbitmqadmin publish exchange=hubplane routing_key=jobs.42 payload='{"progress":80}'
//! ```
//!
//! # Address
//! `amqp://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/VHOST][?KEY=VALUE…]`; `amqps://` is the same over TLS.
//! User and password are `guest` where the address has none, the ports 5672 and 5671, the virtual host `/`. Several
//! hosts are the nodes of one cluster: they are tried side by side, each 250 ms after the one before, and the first
//! that answers is used, for all connections. After any failure another one comes first.
//!
//! | key | default | what |
//! |---|---|---|
//! | `exchange` | `hubplane` | the exchange; instances with different ones never hear each other |
//! | `expires` | `60s` | how long the broker keeps an instance's queue while the instance is away; 5s to 7d |
//! | `max-bytes` | 67108864 | how much it keeps in that queue; the oldest messages go first |
//! | `password` | | instead of the one before the `@`: `env:NAME`, `file:PATH` or the password itself |
//! | `ca` | the system's | a PEM file: the authorities that an `amqps://` connection trusts, and no others |
//! | `cert`, `key` | | PEM files: a client certificate |
//!
//! # Delivery
//! At least once. The broker confirms a message once it is in every instance's queue (`Receipt::Accepted`); at most
//! 1,000 await their confirm. An instance acknowledges what it has handed to the hub, every 100 messages or 20 ms;
//! the broker sends at most 1,000 messages ahead of that, which also bounds the client library's memory, in
//! messages. What is sent again after a lost connection is recognised, and dropped, if it was never acknowledged,
//! has an id or an origin, or stands beside a message that has one; otherwise an outside producer's plain messages
//! may then come twice.
//!
//! An instance that is slower than its publishers for long has its queue cut at `max-bytes`. The broker doesn't
//! tell; but what it drops goes into a second small queue, the instance's **witness**. The instance reads it every
//! second, every 500 messages under load, and before it hands over a message that may lie behind the hole: so a
//! `Gap` (`Overflow`) comes first.
//!
//! # Policies
//! An operator's policy (`max-length`, `max-length-bytes`, `message-ttl`, `expires`) that matches the instance's
//! queue shortens what the broker keeps for it. The instance announces what is dropped as above, whichever rule
//! dropped it. A policy can't blind the witness: RabbitMQ takes `overflow` and `dead-letter-exchange` from our
//! arguments, and the instance keeps what the witness holds out of the policy's reach. A policy that would drop
//! messages in ordinary use is named in the log at the start, or within a minute of being set, once; a third small
//! queue, the **probe**, shows it. Exempt queues named `hubplane.*` from such policies. With one that is set while
//! instances run, the first gap may come up to a second after the messages behind it.
//!
//! While the broker is short of memory or disk it blocks publishers: `publish` answers `Unavailable` at once (the
//! messages that were on their way, `Unknown`). Receiving goes on.
//!
//! Messages are sent unsaved (delivery mode 1). Larger ones than 1 MiB are `Rejected`, and so are channel names of
//! more than 255 bytes and tags named `CC` or `BCC`. A header table holds each name once and has no order: tags
//! arrive sorted, and of two with one name the first.
//!
//! # Order
//! Each publisher's messages arrive in its order, on every instance. Two publishers' messages may interleave
//! differently on two instances.
//!
//! # History
//! None: there are no positions, and `history()` is `None`.
//!
//! # Reconnection
//! Both connections, one to publish and one to receive, are made again by themselves, after 25 ms to 1 s, for ever.
//! A broker that is silent is noticed within 3.5 s, by a question a second; the heartbeat is 10 s.
//!
//! After a lost connection the queue is still there, with what was published meanwhile, and nothing is lost. A
//! `Gap` (`QueueLost`) is announced where that can't be proved: the queue expired or was deleted, or the broker
//! restarted, which loses unsaved messages. The proof is an unsaved message in the witness, the **token**: if it is
//! still there, the broker has run all the time. (In a cluster both queues must be on one node, as they are unless
//! a policy places queues elsewhere. Where a policy sets a `message-ttl`, an older token is gone after any lost
//! connection.)
//!
//! If the network alone fails, the broker may take the old connection for alive until its heartbeat says otherwise,
//! up to 30 s, and lets nobody else read the queue.
//!
//! `renew` gives the queue up for a new one, with a `Gap` (`QueueLost`), at another node where the address names
//! several.
//!
//! Deleting the exchange under running instances is noticed by those that publish: their queues are made anew, with
//! a `Gap`.
//!
//! # What it creates
//! - the durable fanout exchange `hubplane` and the durable direct exchange `hubplane.lost`, which stay;
//! - for each instance the durable queues `hubplane.hubplane.RANDOM`, the same with `.lost` and with `.probe` (the
//!   second `hubplane` is the exchange). They are deleted when it closes; when it dies, they expire after
//!   `expires`, the probe after 3 min. Into the probe it puts 200 small messages a minute, and takes them out
//!   again.
//!
//! The user needs the permissions configure, write and read for these names.

mod capabilities;
mod config;
mod connection;
mod consume;
mod declare;
mod guard;
mod instance_queue;
mod link;
mod message;
mod nodes;
mod probe;
mod progress;
mod publish;
mod queues;
mod reading;
mod receiver;
mod redelivery;
mod serve;
mod shared;
mod spaces;
pub mod streams;
mod ticket;
mod witness;
mod writer;
mod writing;

use async_trait::async_trait;
use hubplane_backplane::{Address, Capabilities, Driver, Opened, Result};

use crate::capabilities::{CAPABILITIES, NAME};

pub use streams::STREAMS_DRIVER;

/// A directive for a program's log filter. The client library writes at ERROR whenever a connection ends, also when it is
/// closed on purpose or another attempt was faster, and up to 8 lines a second while it is refused. What matters of it is
/// in this crate's own lines, once.
pub const LOG_FILTER: &str = "lapin=off";

/// The `amqp:` and `amqps:` backend.
pub static DRIVER: RabbitDriver = RabbitDriver;

/// Opens `amqp://` and `amqps://` addresses; use it by [`DRIVER`].
#[derive(Debug)]
pub struct RabbitDriver;

#[async_trait]
impl Driver for RabbitDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[NAME, "amqps"]
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        queues::open(config::Config::read(address)?).await
    }
}
