//! The reading of the **witness**, the small queue into which the broker puts what the instance's
//! queue drops.
//!
//! In it also lies an unsaved message of ours, the **token**: a broker that restarted has lost it.
//! The instance consumes from the witness and acknowledges nothing but old tokens. A message that
//! was delivered and is not acknowledged is out of every policy's reach: neither `max-length` nor
//! `message-ttl` takes it while the connection holds. What comes back after a lost connection tells
//! everything:
//!
//! | in the witness | meaning |
//! |---|---|
//! | the token that was delivered before | nothing is lost |
//! | dropped messages | the queue was cut; `x-first-death-reason` says why |
//! | neither | the broker restarted (in a cluster: the node of the queues), or a policy has taken all of it |
//!
//! A policy can't take a dropped message and leave the token, which is older: RabbitMQ takes the
//! oldest first. What dead-lettering adds to a message:
//! <https://www.rabbitmq.com/docs/dlx#effects>.

use futures_util::{FutureExt, StreamExt};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueuePurgeOptions},
    types::{AMQPValue, FieldTable},
};

use crate::{declare::count, instance_queue::InstanceQueue, link::Link};

/// Messages that the broker delivers without an acknowledgement: the token, the next token, and
/// some dropped messages.
const PREFETCH: u16 = 8;

/// A consumer of the witness, on a channel of its own.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) channel: Channel,
    consumer: Consumer,
    queue: String,
    /// The delivery tag of the newest token.
    token: Option<u64>,
    /// The delivery tags of dropped messages.
    dropped: Vec<u64>,
}

/// What the witness has delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Testimony {
    /// Tokens by their numbers, in the order in which they came.
    pub(crate) tokens: Vec<u64>,
    /// Why messages were dropped, in RabbitMQ's words: `maxlen` or `expired`.
    pub(crate) dropped: Vec<String>,
}

impl Witness {
    /// Begins to consume. Once it returns, what lay in the witness has been delivered, up to the prefetch.
    pub(crate) async fn open(link: &Link, queue: &InstanceQueue) -> lapin::Result<Self> {
        let channel = link.channel().await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        // Another consumer, which the broker still believes alive, would hold the token.
        let options = BasicConsumeOptions {
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let name = queue.witness.as_str().into();
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default());
        let consumer = consumer.await?;
        let this = Self {
            channel,
            consumer,
            queue: queue.witness.clone(),
            token: None,
            dropped: Vec::new(),
        };
        fence(&this.channel, queue).await?;
        Ok(this)
    }

    /// Returns what was delivered since the last call; `None` if the witness is gone. To be called
    /// after [`fence`], which makes sure that everything has been delivered. Acknowledges old
    /// tokens and nothing else of importance.
    pub(crate) async fn hear(&mut self) -> lapin::Result<Option<Testimony>> {
        let mut heard = Testimony::default();
        while let Some(next) = self.consumer.next().now_or_never() {
            let Some(delivery) = next.transpose()? else {
                return Ok(None);
            };
            let tag = delivery.delivery_tag;
            if let Some(reason) = death(&delivery) {
                heard.dropped.push(reason);
                self.dropped.push(tag);
            } else if let Some(number) = number(&delivery.data) {
                heard.tokens.push(number);
                if let Some(old) = self.token.replace(tag) {
                    self.release(old).await?;
                }
            // Somebody else's message: the token and the dropped ones need its place.
            } else {
                self.release(tag).await?;
            }
        }
        Ok(Some(heard))
    }

    /// Forgets the dropped messages, so that the next one can be seen. The token stays.
    pub(crate) async fn forget_dropped(&mut self) -> lapin::Result<()> {
        let options = QueuePurgeOptions::default();
        let purged = self
            .channel
            .queue_purge(self.queue.as_str().into(), options);
        purged.await?;
        for tag in std::mem::take(&mut self.dropped) {
            self.release(tag).await?;
        }
        Ok(())
    }

    /// Acknowledges one message, so that the witness forgets it.
    async fn release(&self, tag: u64) -> lapin::Result<()> {
        let this_one = BasicAckOptions { multiple: false };
        self.channel.basic_ack(tag, this_one).await
    }
}

/// Asks the broker about the witness on its consumer's channel. Once the answer has come,
/// everything that had reached the witness when it was asked has been delivered, as far as the
/// prefetch allows.
pub(crate) async fn fence(channel: &Channel, queue: &InstanceQueue) -> lapin::Result<()> {
    count(channel, &queue.witness).await.map(drop)
}

/// Returns why the broker has dropped this message; `None` if it has not.
fn death(delivery: &Delivery) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?.inner();
    match headers.get("x-first-death-reason") {
        Some(AMQPValue::LongString(reason)) => Some(reason.to_string()),
        _ => headers.contains_key("x-death").then(String::new),
    }
}

/// Returns a token's number; `None` if this is no token.
fn number(body: &[u8]) -> Option<u64> {
    body.try_into().ok().map(u64::from_be_bytes)
}

/// Returns what the broker's reason for a drop means, for the log.
pub(crate) fn advice(reason: &str) -> &'static str {
    match reason {
        "expired" => {
            "they were older than a policy's message-ttl, or than their publisher's own expiration, allows"
        }
        "maxlen" => {
            "the queue was longer than the address's max-bytes, or a policy's max-length or max-length-bytes, allows"
        }
        _ => "the broker does not say why",
    }
}
