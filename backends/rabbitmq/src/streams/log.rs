//! The stream at the broker: its declaration, its epoch, its two ends.

use std::time::Duration;

use futures_util::StreamExt;
use hubplane_backplane::{Error, ErrorKind, Result};
use lapin::{
    BasicProperties, Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
        BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable, ReplyCode},
};
use tokio::time::sleep;

use crate::{
    NAME,
    config::{Config, Retention},
    connection::Backoff,
    link::{Link, NOT_FOUND, PRECONDITION_FAILED, explain, reply_code},
    place::declare_exchange,
};

/// Somebody else holds the lock.
const RESOURCE_LOCKED: ReplyCode = 405;
/// Bounds what lapin queues; acknowledged in quarters.
const PREFETCH: u16 = 400;
const ACK_AFTER: u64 = 100;
/// Written to disk with the token's queue.
const SAVED: u8 = 2;

/// The stream's name.
pub(crate) fn name(config: &Config) -> String {
    format!("hubplane.{}.stream", config.exchange)
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    }
}

/// Whether the stream is there.
pub(crate) async fn ask(channel: &Channel, config: &Config) -> lapin::Result<()> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let asked = channel.queue_declare(name(config).into(), passive, FieldTable::default());
    asked.await.map(drop)
}

/// Creates what is missing of exchange, stream and epoch, and returns the epoch; one instance at a time. `distrusted`
/// is an epoch whose log turned out to be another one: it is replaced, unless somebody else has done so.
pub(crate) async fn ensure(link: &Link, config: &Config, distrusted: Option<u64>) -> Result<u64> {
    let lock = lock(link, config).await?;
    let failed = |error| explain(config, "looking for the stream", error);
    let channel = link.channel().await.map_err(failed)?;
    let fresh = match ask(&channel, config).await {
        Ok(()) => false,
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => true,
        Err(error) => return Err(failed(error)),
    };
    let epoch = declare(link, config, fresh, distrusted).await?;
    let unlocked = lock.queue_delete(lock_name(config).into(), QueueDeleteOptions::default());
    unlocked.await.map_err(failed)?;
    for channel in [channel, lock] {
        let _ = channel.close(200, "done".into()).await;
    }
    Ok(epoch)
}

fn lock_name(config: &Config) -> String {
    name(config) + ".lock"
}

/// A queue that belongs to one connection is a lock that no crash leaves behind.
async fn lock(link: &Link, config: &Config) -> Result<Channel> {
    let failed = |error| explain(config, "taking the lock", error);
    let mut backoff = Backoff::default();
    loop {
        let channel = link.channel().await.map_err(failed)?;
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        // A virtual host's default type may be one that can't be exclusive.
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("classic"));
        let locked = channel.queue_declare(lock_name(config).into(), exclusive, arguments);
        match locked.await {
            Ok(_) => return Ok(channel),
            Err(error) if reply_code(&error) == Some(RESOURCE_LOCKED) => {
                sleep(backoff.next()).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

async fn declare(
    link: &Link,
    config: &Config,
    fresh: bool,
    distrusted: Option<u64>,
) -> Result<u64> {
    let failed = |error| explain(config, "creating the stream", error);
    let channel = link.channel().await.map_err(failed)?;
    declare_exchange(&channel, config).await.map_err(failed)?;
    let token = name(config) + ".epoch";
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("classic"));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    let declared = channel.queue_declare(token.as_str().into(), durable(), arguments);
    declared.await.map_err(failed)?;
    if fresh {
        // Before the stream is there: a crash in between leaves no new stream with an old epoch.
        let purged = channel.queue_purge(token.as_str().into(), QueuePurgeOptions::default());
        purged.await.map_err(failed)?;
    }
    let retention = config.retention.as_ref();
    let arguments = arguments_of(retention.expect("invariant: a streams address"), config);
    let declared = channel.queue_declare(name(config).into(), durable(), arguments);
    declared
        .await
        .map_err(|error| other_settings(config, error))?;
    let bind = QueueBindOptions::default();
    let (exchange, none) = (config.exchange.as_str().into(), FieldTable::default());
    let bound = channel.queue_bind(name(config).into(), exchange, "".into(), bind, none);
    bound.await.map_err(failed)?;
    let epoch = match read_epoch(&channel, &token).await.map_err(failed)? {
        Some(epoch) if Some(epoch) != distrusted => epoch,
        _ => {
            let epoch = random()?;
            let body = format!("{epoch:016x}");
            put(&channel, &token, body.as_bytes())
                .await
                .map_err(failed)?;
            epoch
        }
    };
    let _ = channel.close(200, "done".into()).await;
    Ok(epoch)
}

fn other_settings(config: &Config, error: lapin::Error) -> Error {
    if reply_code(&error) != Some(PRECONDITION_FAILED) {
        return explain(config, "creating the stream", error);
    }
    let message = format!(
        "the stream {:?} exists with other settings: give the address the same max-age, max-bytes and segment-bytes, \
         or delete the stream",
        name(config)
    );
    Error::new(ErrorKind::Config, NAME, message).with_source(error)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn arguments_of(retention: &Retention, config: &Config) -> FieldTable {
    let number = |value: u64| AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX));
    let age = format!("{}s", retention.max_age.as_secs());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("stream"));
    arguments.insert("x-max-age".into(), text(&age));
    arguments.insert("x-max-length-bytes".into(), number(config.max_bytes));
    let segment = number(retention.segment_bytes);
    arguments.insert("x-stream-max-segment-size-bytes".into(), segment);
    arguments
}

fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| unavailable("no randomness").with_source(error))
}

async fn read_epoch(channel: &Channel, token: &str) -> lapin::Result<Option<u64>> {
    let got = channel.basic_get(token.into(), BasicGetOptions::default());
    let Some(message) = got.await? else {
        return Ok(None);
    };
    let body = str::from_utf8(&message.data).ok();
    let epoch = body.and_then(|body| u64::from_str_radix(body, 16).ok());
    let back = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    channel
        .basic_nack(message.delivery.delivery_tag, back)
        .await?;
    // The lock is given up on another channel, which could overtake: only an answer of the queue's own shows that the
    // token lies in it again.
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(token.into(), passive, FieldTable::default())
        .await?;
    Ok(epoch)
}

/// Puts one message straight into a queue, and waits until it is there.
async fn put(channel: &Channel, queue: &str, body: &[u8]) -> lapin::Result<()> {
    let select = ConfirmSelectOptions::default();
    channel.confirm_select(select).await?;
    let (options, saved) = (
        BasicPublishOptions::default(),
        BasicProperties::default().with_delivery_mode(SAVED),
    );
    let written = channel.basic_publish("".into(), queue.into(), options, body, saved);
    written.await?.await.map(drop)
}

/// Where a cursor begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    First,
    Next,
    Offset(u64),
    /// Seconds of the Unix epoch.
    Time(u64),
}

/// A consumer of the stream on a channel of its own. Acknowledgements are the stream's credit, no more: what was given
/// out is acknowledged when more is asked for.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) channel: Channel,
    consumer: Consumer,
    given: u64,
    last: u64,
}

impl Cursor {
    pub(crate) async fn open(link: &Link, config: &Config, from: From) -> lapin::Result<Self> {
        let channel = link.channel().await?;
        let per_consumer = BasicQosOptions::default();
        channel.basic_qos(PREFETCH, per_consumer).await?;
        let from = match from {
            From::First => text("first"),
            From::Next => text("next"),
            From::Offset(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(0)),
            From::Time(seconds) => AMQPValue::Timestamp(seconds),
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), from);
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(name(config).into(), "".into(), options, arguments);
        let consumer = consumer.await?;
        Ok(Self {
            channel,
            consumer,
            given: 0,
            last: 0,
        })
    }

    /// The next message and its offset; `None` once the stream is gone.
    pub(crate) async fn next(&mut self) -> Option<lapin::Result<(u64, Delivery)>> {
        if self.given >= ACK_AFTER {
            self.given = 0;
            let all = BasicAckOptions { multiple: true };
            if let Err(error) = self.channel.basic_ack(self.last, all).await {
                return Some(Err(error));
            }
        }
        let delivery = match self.consumer.next().await? {
            Ok(delivery) => delivery,
            Err(error) => return Some(Err(error)),
        };
        self.given += 1;
        self.last = delivery.delivery_tag;
        let offset = offset(&delivery)?;
        Some(Ok((offset, delivery)))
    }

    /// Ends the consumer; a cursor that is only dropped leaves its channel open.
    pub(crate) async fn close(self) {
        let _ = self.channel.close(200, "done".into()).await;
    }
}

fn offset(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}

/// A marker is put straight into the stream; what is published comes from the exchange.
pub(crate) fn is_marker(delivery: &Delivery, config: &Config) -> bool {
    delivery.exchange.as_str().is_empty() && delivery.routing_key.as_str() == name(config)
}

/// Finds the end of the stream: puts a marker there and reads its offset. AMQP tells the end of a stream in no other way.
pub(crate) async fn end(link: &Link, config: &Config) -> Result<u64> {
    let failed = |error| explain(config, "finding the stream's end", error);
    let mut cursor = Cursor::open(link, config, From::Next)
        .await
        .map_err(failed)?;
    let body = random()?.to_be_bytes();
    let channel = link.channel().await.map_err(failed)?;
    put(&channel, &name(config), &body).await.map_err(failed)?;
    let found = loop {
        match cursor.next().await {
            Some(Ok((offset, delivery))) if delivery.data == body => break offset,
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(unavailable("the stream was deleted")),
        }
    };
    cursor.close().await;
    let _ = channel.close(200, "done".into()).await;
    Ok(found)
}

/// How long [`first`] waits; a stream with messages answers at once.
const FIRST: Duration = Duration::from_secs(2);

/// The offset of the oldest message that is kept.
pub(crate) async fn first(link: &Link, config: &Config) -> Result<u64> {
    let failed = |error| explain(config, "finding the stream's begin", error);
    let mut cursor = Cursor::open(link, config, From::First)
        .await
        .map_err(failed)?;
    let first = match tokio::time::timeout(FIRST, cursor.next()).await {
        Ok(Some(Ok((offset, _)))) => offset,
        Ok(Some(Err(error))) => return Err(failed(error)),
        Ok(None) | Err(_) => return Err(unavailable("the stream does not answer")),
    };
    cursor.close().await;
    Ok(first)
}
