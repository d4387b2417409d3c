//! What one instance has at the broker: its queue, and beside it a small queue that tells what became of the first.
//!
//! The broker drops the oldest messages of a queue that is full, and the unsaved ones of every queue when it
//! restarts, without a word on AMQP. So the queue's dropped messages are dead-lettered into a second queue, its
//! **witness**, that nobody consumes, and in which lies one unsaved message of ours, the **token**. The number of
//! messages in the witness then tells everything:
//!
//! | messages | meaning |
//! |---|---|
//! | the token alone | nothing is lost |
//! | more | the queue was cut |
//! | none | the broker (in a cluster: the node of the two queues) restarted, and lost what was not saved |
//!
//! Asking needs only passive declarations, which also keep the witness from expiring.

use std::time::Duration;

use hubplane_backplane::{Error, ErrorKind, Result};
use lapin::{
    BasicProperties, Channel, Confirmation, ExchangeKind,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::timeout;

use crate::{
    NAME,
    config::Config,
    link::{Link, NOT_FOUND, explain, reply_code},
};

/// An ordinary broker takes the token in milliseconds; one that is short of memory or disk takes nothing.
const TOKEN: Duration = Duration::from_secs(2);

/// The names of one instance's two queues, and what is known of them.
#[derive(Clone, Debug)]
pub(crate) struct InstanceQueue {
    pub(crate) name: String,
    witness: String,
    /// Whether the token lies in the witness; without it a restart can't be told from a blip.
    pub(crate) token: bool,
}

/// What became of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Everything that was routed to it is still there or was delivered.
    Whole,
    /// It was full, and its oldest messages are gone.
    Cut,
    /// It is gone, or it may have lost messages in a restart.
    Lost,
}

/// The exchange for what the instances' queues drop.
pub(crate) fn dead_letters(config: &Config) -> ShortString {
    format!("{}.lost", config.exchange).into()
}

/// Creates the exchange where it is not there; refused where it is there as another kind.
pub(crate) async fn declare_exchange(channel: &Channel, config: &Config) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let name = ShortString::from(config.exchange.as_str());
    channel
        .exchange_declare(name, ExchangeKind::Fanout, durable, FieldTable::default())
        .await
}

/// How many messages lie ready in a queue.
async fn count(channel: &Channel, queue: &str) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default());
    Ok(found.await?.message_count())
}

impl InstanceQueue {
    /// Names that nobody else has; nothing is created yet.
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
            name,
            token: false,
        })
    }

    /// Creates exchange, queue and witness. Once it returns, whatever is published lands in the queue.
    pub(crate) async fn create(&mut self, link: &Link, config: &Config) -> Result<()> {
        let wrong = |error| explain(config, "creating the queue", error);
        self.declare(link, config).await.map_err(wrong)?;
        self.token = self.put_token(config).await;
        Ok(())
    }

    async fn declare(&self, link: &Link, config: &Config) -> lapin::Result<()> {
        let channel = link.channel().await?;
        declare_exchange(&channel, config).await?;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let (none, lost) = (FieldTable::default(), dead_letters(config));
        channel
            .exchange_declare(lost.clone(), ExchangeKind::Direct, durable, none.clone())
            .await?;

        let bind = QueueBindOptions::default();
        let witness = ShortString::from(self.witness.as_str());
        let mut arguments = arguments(config);
        // The token and one dropped message are enough to know.
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(2));
        self.declare_queue(&channel, &self.witness, arguments)
            .await?;
        channel
            .queue_bind(
                witness.clone(),
                lost.clone(),
                witness.clone(),
                bind,
                none.clone(),
            )
            .await?;

        let mut arguments = self::arguments(config);
        let max = i64::try_from(config.max_bytes).unwrap_or(i64::MAX);
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(max));
        arguments.insert("x-dead-letter-exchange".into(), text(lost.as_str()));
        arguments.insert("x-dead-letter-routing-key".into(), text(&self.witness));
        self.declare_queue(&channel, &self.name, arguments).await?;
        let exchange = ShortString::from(config.exchange.as_str());
        channel
            .queue_bind(self.name.as_str().into(), exchange, "".into(), bind, none)
            .await?;
        let _ = channel.close(200, "done".into()).await;
        Ok(())
    }

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

    /// Puts the token into the witness, over a connection of its own: a broker that is short of memory stops
    /// reading from any connection that publishes, and acknowledgements must go on.
    pub(crate) async fn put_token(&self, config: &Config) -> bool {
        let put = async {
            let link = Link::dial(config, "token").await.ok()?;
            let channel = link.channel().await.ok()?;
            let select = ConfirmSelectOptions::default();
            channel.confirm_select(select).await.ok()?;
            let (to, key) = (dead_letters(config), self.witness.as_str().into());
            let unsaved = BasicProperties::default().with_delivery_mode(1);
            let put = channel
                .basic_publish(to, key, BasicPublishOptions::default(), b"", unsaved)
                .await;
            let confirmed = matches!(put.ok()?.await, Ok(Confirmation::Ack(_)));
            link.close().await;
            confirmed.then_some(())
        };
        let put = timeout(TOKEN, put).await.ok().flatten().is_some();
        if !put {
            tracing::warn!(queue = self.name, "RabbitMQ takes no messages now");
        }
        put
    }

    /// What became of the queue since the witness was last emptied. Where the consumer's own channel asks, every
    /// message that the broker dropped before it answers is counted: the queue has passed a dropped message on to
    /// its witness before it delivers the next.
    pub(crate) async fn fate(&self, channel: &Channel) -> lapin::Result<Fate> {
        let counted = async {
            count(channel, &self.name).await?;
            count(channel, &self.witness).await
        };
        match counted.await {
            Ok(count) if count == u32::from(self.token) => Ok(Fate::Whole),
            Ok(0) => Ok(Fate::Lost),
            Ok(_) => Ok(Fate::Cut),
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(Fate::Lost),
            Err(error) => Err(error),
        }
    }

    /// Empties the witness after a cut. The token goes with it.
    pub(crate) async fn forget_cut(&mut self, channel: &Channel) -> lapin::Result<()> {
        let options = QueuePurgeOptions::default();
        self.token = false;
        channel
            .queue_purge(self.witness.as_str().into(), options)
            .await?;
        Ok(())
    }

    /// Deletes both queues; deleting what is not there does nothing.
    pub(crate) async fn delete(&self, link: &Link) -> lapin::Result<()> {
        let channel = link.channel().await?;
        for queue in [&self.name, &self.witness] {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.as_str().into(), options).await?;
        }
        Ok(())
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// What both queues have in common. A virtual host's default may be another type of queue.
fn arguments(config: &Config) -> FieldTable {
    let expires = i64::try_from(config.expires.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("classic"));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(expires));
    arguments.insert("x-overflow".into(), text("drop-head"));
    arguments
}
