//! Kafka: one topic that every instance reads whole, with the channel as the record's key.
//!
//! # Address
//! `kafka://[user[:password]@]host[:9092][,host…]`. Keys:
//!
//! | key | default | what |
//! |---|---|---|
//! | `topic` | `hubplane` | the topic |
//! | `create` | `true` | create the topic where it is missing |
//! | `partitions` | 8 | of a topic that is created |
//! | `replication` | the broker's default | of a topic that is created |
//! | `retention` | the broker's default | of a topic that is created, such as `24h` |
//! | `linger` | `1ms` | how long the producer collects a batch, up to `1ms`; `0ms` is quickest and costs the broker most |
//! | `sasl` | – | `plain`, `scram-sha-256` or `scram-sha-512`, with the address's user and password |
//! | `password` | – | instead of the one behind the user: `env:NAME` or `file:PATH` |
//! | `tls` | `false` | encrypt, and check the broker's certificate and name |
//! | `ca`, `cert`, `key` | the system's roots, – | PEM files: what to trust, and a client certificate |
//! | `kafka.*` | – | any other librdkafka setting, passed through and above the defaults here, such as `kafka.client.rack=r1`; those that would break a promise below are refused |
//!
//! # Delivery
//! At least once, in order, also across restarts of the broker; repetitions by offset are dropped here. A publish is
//! acknowledged when all in-sync replicas have it (`acks=all`, idempotent); whether they have synced it to disk is
//! the broker's setting. A record without a key, or with one that is not UTF-8, belongs to no channel and is passed
//! over; a record without a value is an empty message.
//!
//! Of transactions only committed records are shown. An open one holds up its partition, as the broker has it: what comes
//! behind it in that partition, from anybody, is acknowledged and arrives once the transaction has ended
//! (`Event::Waiting`; `transaction.max.timeout.ms` on the broker bounds it). The other partitions go on.
//!
//! # Order
//! One order per channel, the same for all: a channel lives in one partition, chosen as Java's default partitioner
//! does (`murmur2`), so that outside producers who set the key agree.
//!
//! # History
//! Publications have positions (partition, and the offset after the record), and are kept as long as the topic's
//! retention. They are read back, by channel or by partition, with a consumer of their own, which is kept warm for a
//! minute. An instance reads one page at a time; a call that has waited 2.8 s for those before it is `Unavailable`.
//! Kafka has no index by channel, so a channel is read by passing over the others of its partition: up to 200,000
//! records, 64 MiB or 2 s a page, which then ends early and says where. A page ends where the log ended when it was
//! asked for. A channel is looked for where its key belongs: what an outside producer with another partitioner put
//! elsewhere arrives live, but is not found. An age goes by the records' timestamps, less a second, since clocks differ.
//! After a position, records that can't be read are `PositionLost`; from an age or the start on, they are passed over.
//!
//! Warm, the last 1,000 messages of 128 bytes took 4,674 µs (median of 100 reads; 99th percentile 12,870 µs), the last
//! one 2,488 µs, and nothing after the position 1,372 µs, in a debug build, with the broker and other work on the same
//! two cores: `cargo run -p hubplane-kafka --example read_back`.
//!
//! The epoch is made of the topic's id and its number of partitions, so it is the same on every instance, and another
//! one for a topic that was deleted and created again. A broker without topic ids (before 2.8) leaves only the names
//! of cluster and topic to make it of.
//!
//! # Reconnection
//! By librdkafka, for ever, with TCP keepalive in the kernel's times; TCP_USER_TIMEOUT can't be reached through
//! librdkafka, so a line that swallows everything is found out by the unanswered question below. An instance reads on
//! at its own last offset, so nothing inside the retention is missed. A second connection asks each second which log
//! there is and how far it goes: no answer is `Down`; `Up` is said when every partition has shown a sign of life. A
//! partition that stays behind is assigned anew, then the consumer made anew, as it also is when the hub says that
//! nothing arrives any more; it goes on after the last record given out. What can't be read any more is a `Gap`:
//! `Trimmed` where the log's start has moved past this instance, `Undecodable` where a batch is damaged,
//! `LogReplaced`, with a new epoch, where the topic was created again (it is then read from its start), is shorter
//! than what was read (it is read on from its end), or has got more partitions. A log that was rolled back and has
//! grown past this instance's place again can't be told from a healthy one here. A topic that is deleted while an
//! instance runs is `Down`; it is created again by whoever deleted it, not by the instance. Reading back makes a new
//! consumer where the one it has gives no answer for 1.2 s; while the broker is away it is `Unavailable` at once, and
//! a position of a log that was replaced is `PositionLost`.
//!
//! # What operators change
//! What the promises depend on is asked for when an instance opens, each minute, and when the broker is back. A compacted
//! topic (`cleanup.policy`) is refused at the start; one that is compacted later goes on live, and its past is
//! `PositionLost` until it is `delete` again. With fewer replicas in sync than `min.insync.replicas` demands, the answer to
//! a publish and the log say so. The user needs Read, Write and Describe on the topic: a right that is missing at the
//! start is an error that names it (`Config`); one that is taken away later is `Down` with the broker's words, or the
//! answer to each publish. To learn whether it may write, an instance writes one empty record with the key
//! `$hubplane/probe` when it opens; instances pass over it.
//!
//! # What it creates
//! The topic, if it is missing and `create` allows it, with the broker's time for its records
//! (`message.timestamp.type=LogAppendTime`); it stays. No consumer group and no committed offsets.

mod client;
mod config;
mod connection;
mod consume;
mod context;
mod failure;
mod history;
mod identity;
mod instance;
mod partition;
mod publish;
mod record;
mod replay;
mod rights;
mod settings;
mod shared;
mod slot;
mod spaces;
mod topic;
mod watch;

use async_trait::async_trait;
use hubplane_backplane::{
    Address, Capabilities, Delivery, Driver, Durability, Interest, OnRestart, Opened, Order,
    Replay, Result,
};

/// The name in errors.
const NAME: &str = "kafka";

/// The `kafka:` backend.
pub static DRIVER: KafkaDriver = KafkaDriver;

/// Opens `kafka:` addresses; use it by [`DRIVER`].
#[derive(Debug)]
pub struct KafkaDriver;

/// What this backend promises. The conformance suite holds it to that.
const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerChannel,
    delivery: Delivery::AtLeastOnce,
    replay: Replay::Bounded("the topic's retention"),
    durability: Durability::Logged,
    // A broker's default takes 1,048,588 bytes with key, headers and framing.
    max_payload: 1_000_000,
    max_channel: 1024,
    interest: Interest::Everything,
    on_restart: OnRestart::Delivered,
};

#[async_trait]
impl Driver for KafkaDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        connection::open(config::Config::read(address)?).await
    }
}
