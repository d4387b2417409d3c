//! What one instance has at the broker: its queue, and beside it two small queues that tell what
//! becomes of the first.
//!
//! The broker drops messages of a queue that is full, or whose messages have grown too old, and the
//! unsaved ones of every queue when it restarts, without a word on AMQP. So what the queue drops is
//! dead-lettered into a second queue, its **witness** (see [`crate::witness`]). A third queue, the
//! **probe**, shows which policies of the operator apply to queues with such a name (see
//! [`crate::probe`]).
//!
//! This file creates, finds and deletes the three; what they tell is read elsewhere. The arguments:
//! <https://www.rabbitmq.com/docs/queues#optional-arguments>.

use std::time::Duration;

use hubplane_backplane::{Error, ErrorKind, Result};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::{
    capabilities::NAME,
    config::Config,
    declare::{count, dead_letters, declare_exchange, text},
    link::{Link, NOT_FOUND, explain, reply_code},
};

/// Messages that the witness holds: the token and one dropped message are enough to know.
const WITNESSED: i32 = 2;
/// Small messages that are put into the probe at once: a queue that can't hold so many loses
/// messages in ordinary use.
pub(crate) const BURST: u32 = 200;
/// How long the probe is kept unused. Nobody uses it between two looks, so it must outlive the
/// pause.
const PROBE_EXPIRES: Duration = Duration::from_secs(180);
const PROBED: i32 = BURST as i32;

/// The names of one instance's queues, and what is known of them.
#[derive(Clone, Debug)]
pub(crate) struct InstanceQueue {
    pub(crate) name: String,
    pub(crate) witness: String,
    pub(crate) probe: String,
    /// The number of the token that the witness has delivered last. As long as the broker still has
    /// this very token, it has not restarted since; without one, a restart can't be told from a
    /// lost connection.
    pub(crate) token: Option<u64>,
}

impl InstanceQueue {
    /// Returns names that nobody else has; nothing is created yet. Each queue is new: one that is
    /// left from before may have lost messages.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let random = getrandom::u64().map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                NAME,
                "no randomness for a queue's name",
            )
            .with_source(error)
        })?;
        let name = format!("hubplane.{}.{random:016x}", config.exchange);
        Ok(Self {
            witness: format!("{name}.lost"),
            probe: format!("{name}.probe"),
            name,
            token: None,
        })
    }

    /// Creates exchanges and queues. Once it returns, whatever is published lands in the queue. May
    /// be called again after a failure.
    pub(crate) async fn create(&self, link: &Link, config: &Config) -> Result<()> {
        let failed = |error| explain(config, "opening a channel", error);
        let channel = link.channel().await.map_err(failed)?;
        let doing = "creating the exchanges (permission configure)";
        let failed = |error| explain(config, doing, error);
        self.declare_exchanges(&channel, config)
            .await
            .map_err(failed)?;
        let doing = "creating and binding the queues (permissions configure, write and read)";
        let failed = |error| explain(config, doing, error);
        self.declare(&channel, config).await.map_err(failed)?;
        let _ = channel.close(200, "done".into()).await;
        Ok(())
    }

    /// Creates the exchange for publications and the one for dropped messages.
    async fn declare_exchanges(&self, channel: &Channel, config: &Config) -> lapin::Result<()> {
        declare_exchange(channel, config).await?;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let (none, lost) = (FieldTable::default(), dead_letters(config));
        channel
            .exchange_declare(lost, ExchangeKind::Direct, durable, none)
            .await
    }

    /// Creates and binds the three queues. The queue itself comes last: from its first message on,
    /// the witness must be there.
    async fn declare(&self, channel: &Channel, config: &Config) -> lapin::Result<()> {
        let bind = QueueBindOptions::default();
        self.declare_watcher(channel, config, (&self.witness, WITNESSED, config.expires))
            .await?;
        self.declare_probe(channel, config).await?;

        let mut arguments = self::arguments(config, &self.witness, config.expires);
        let max = i64::try_from(config.max_bytes).unwrap_or(i64::MAX);
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(max));
        self.declare_queue(channel, &self.name, arguments).await?;
        let exchange = ShortString::from(config.exchange.as_str());
        let none = FieldTable::default();
        channel
            .queue_bind(self.name.as_str().into(), exchange, "".into(), bind, none)
            .await
    }

    /// Creates the probe if it is not there; binding it again changes nothing.
    pub(crate) async fn declare_probe(
        &self,
        channel: &Channel,
        config: &Config,
    ) -> lapin::Result<()> {
        let expires = PROBE_EXPIRES.max(config.expires);
        self.declare_watcher(channel, config, (&self.probe, PROBED, expires))
            .await
    }

    /// Creates the witness or the probe. Both are reached by the exchange for dropped messages, by
    /// their own names.
    async fn declare_watcher(
        &self,
        channel: &Channel,
        config: &Config,
        (queue, most, expires): (&str, i32, Duration),
    ) -> lapin::Result<()> {
        // What these two drop themselves goes nowhere: not where a policy would send it.
        let nowhere = format!("{}.nowhere", self.name);
        let mut arguments = arguments(config, &nowhere, expires);
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(most));
        self.declare_queue(channel, queue, arguments).await?;
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        let (queue, lost) = (ShortString::from(queue), dead_letters(config));
        channel
            .queue_bind(queue.clone(), lost, queue, bind, none)
            .await
    }

    /// Creates one durable queue. Durable and not exclusive, so that it outlives the connection;
    /// `x-expires` ends it.
    async fn declare_queue(
        &self,
        channel: &Channel,
        name: &str,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(name.into(), durable, arguments)
            .await?;
        Ok(())
    }

    /// Returns true if the queue is there. Once the answer has come, the queue has passed on to its
    /// witness every message that it had dropped when it was asked.
    pub(crate) async fn exists(&self, channel: &Channel) -> lapin::Result<bool> {
        match count(channel, &self.name).await {
            Ok(_) => Ok(true),
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes all three queues. Deleting what is not there does nothing.
    pub(crate) async fn delete(&self, link: &Link) -> lapin::Result<()> {
        let channel = link.channel().await?;
        for queue in [&self.name, &self.witness, &self.probe] {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.as_str().into(), options).await?;
        }
        Ok(())
    }
}

/// Returns the arguments that all three queues have. The type is named, because a virtual host's
/// default may be another one. If a policy and an argument differ, RabbitMQ takes the argument for
/// the overflow and for where dropped messages go, and the lower of both for lengths and times. So
/// a policy can shorten our queues, but it can't keep us from being told.
fn arguments(config: &Config, dropped_to: &str, expires: Duration) -> FieldTable {
    let expires = i64::try_from(expires.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("classic"));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(expires));
    arguments.insert("x-overflow".into(), text("drop-head"));
    let lost = dead_letters(config);
    arguments.insert("x-dead-letter-exchange".into(), text(lost.as_str()));
    arguments.insert("x-dead-letter-routing-key".into(), text(dropped_to));
    arguments
}
