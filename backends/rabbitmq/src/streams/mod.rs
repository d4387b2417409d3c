//! The second RabbitMQ backend: the same exchange, but one **stream** that all instances read, so that messages
//! have positions and can be read back. RabbitMQ 3.9 or later, over AMQP 0-9-1; the stream plugin isn't needed.
//!
//! Outside programs publish as to the first backend: to the exchange, routing key = channel. Instances of both
//! backends on one exchange hear each other.
//!
//! # Address
//! `amqp+streams://…` and `amqps+streams://…`, otherwise as in [the crate's documentation](crate#address), with
//! these keys instead of `expires` and `max-bytes`:
//!
//! | key | default | what |
//! |---|---|---|
//! | `max-age` | `24h` | how long the stream keeps messages; 1s to 365d |
//! | `max-bytes` | 1073741824 | how much it keeps |
//! | `segment-bytes` | 67108864 | the size of its files; it forgets by whole files, and never the newest |
//!
//! All instances must use the same values; a stream that exists with other settings is an error at the start.
//!
//! # Delivery
//! At least once, and after a lost connection each message once: an instance goes on behind the last one that it
//! gave to its hub. The broker confirms a message once it is in the stream (`Receipt::Accepted`; the confirm
//! carries no position, only the delivery does). A message that the exchange can route nowhere, because the stream
//! is gone, is `Unavailable`. The broker sends at most 400 messages ahead. A reader that retention has overtaken is
//! told a `Gap` (`Trimmed`).
//!
//! Confirmed messages survive the broker's death (on one node: that of its process; it doesn't wait for the disk).
//!
//! # Policies
//! Of an operator's policy and the address, RabbitMQ takes the shorter `max-age` and the smaller
//! `max-length-bytes`. Where the stream forgets sooner than the address says, it is logged once, at a connection or
//! within a minute; a client whose position is gone learns that it is lost, as with any log. Other policies for
//! queues don't apply to streams.
//!
//! # Order
//! One order for all: all channels are in one stream, lane 0.
//!
//! # History
//! What the stream holds. A read goes through the stream from its position on and looks at each message, whatever
//! its channel: at most 50,000 messages, 16 MiB or 3 s, then the page is short. At most four reads are made at
//! once, over one connection that is made at the first. It ends where this instance's own reading is.
//! `Start::Recent` begins with the chunk that was being written then.
//!
//! # Reconnection
//! As with the first backend; there is no `Gap`, unless the log is another one (`LogReplaced`): the stream was
//! deleted, or its end was lost. Then positions begin a new epoch, at the log's end, on all instances. `renew`
//! makes the reading connection anew, and goes on behind the last message.
//!
//! A stream answers some tenths of a second later than its broker. What an outside program publishes in between is
//! routed nowhere, and confirmed: the flag `mandatory` makes the broker say so. For a moment more RabbitMQ 3.10
//! routes it, drops it, and confirms it all the same; an instance publishes only once a marker of its own has come
//! back, and an outside program may wait a second.
//!
//! A RabbitMQ 3.10 that is killed within seconds of the first stream of its life may never bring up streams again.
//!
//! AMQP doesn't tell where a stream ends. So each time that it connects, and for a history read whose position this
//! instance has not reached yet, an instance puts a **marker** into the stream, a message of 16 bytes straight to
//! the queue, and reads its offset. Markers are not delivered. They carry the epoch, so that an instance that could
//! not notice by itself that the log was replaced asks for the epoch again.
//!
//! No TCP_USER_TIMEOUT is set on the sockets: the question a second and the heartbeat do its work.
//!
//! # What it creates
//! - the durable fanout exchange, as the first backend;
//! - the stream `hubplane.EXCHANGE.stream`, bound to it, which stays;
//! - the stream `hubplane.EXCHANGE.stream.epochs`, which stays. Its last message is the epoch: a random number.
//!   Another one is written when the stream is created, or when its end lies before what an instance has already
//!   read;
//! - for a moment, while these are created, the exclusive queue `hubplane.EXCHANGE.stream.lock`: a lock.
//!
//! The user needs configure, write and read for these names, and write for the default exchange (`amq.default`).

mod backplane;
mod cursor;
pub(crate) mod error;
mod history;
mod known;
pub(crate) mod log;
mod reader;
mod retention;

use async_trait::async_trait;
use hubplane_backplane::{
    Address, Capabilities, Delivery, Driver, Durability, Interest, OnRestart, Opened, Order,
    Replay, Result,
};

use self::error::{STREAMS, renamed};
use crate::config::Config;

/// The `amqp+streams:` and `amqps+streams:` backend.
pub static STREAMS_DRIVER: StreamsDriver = StreamsDriver;

/// Opens `amqp+streams://` and `amqps+streams://` addresses; use it by [`STREAMS_DRIVER`].
#[derive(Debug)]
pub struct StreamsDriver;

const CAPABILITIES: Capabilities = Capabilities {
    order: Order::PerChannel,
    delivery: Delivery::AtLeastOnce,
    replay: Replay::Bounded("max-age and max-bytes, by whole segments"),
    durability: Durability::Logged,
    on_restart: OnRestart::Delivered,
    ..crate::capabilities::CAPABILITIES
};

const _: () = assert!(matches!(CAPABILITIES.interest, Interest::Everything));

#[async_trait]
impl Driver for StreamsDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[STREAMS, "amqps+streams"]
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        let config = Config::read(address).map_err(renamed)?;
        backplane::open(config).await.map_err(renamed)
    }
}
