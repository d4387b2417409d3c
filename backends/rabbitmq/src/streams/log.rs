//! The stream at the broker: its declaration, its epoch, its two ends. Asks and creates; who reads
//! messages is [`super::cursor`].
//!
//! A stream that is deleted and made anew begins at offset 0 again, so a position must say which
//! log it is of. The **epoch** does: a random number, kept in a second small stream, of which the
//! last message counts. AMQP doesn't tell where a stream ends, either. So a **marker**, a message
//! of ours straight into the stream, is written and read back; it carries the epoch, by which all
//! readers notice an instance that reads another log.

use std::time::Duration;

use hubplane_backplane::{Error, ErrorKind, Result};
use hubplane_kit::Backoff;
use lapin::{
    BasicProperties, Channel, Confirmation,
    message::Delivery,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ReplyCode},
};
use tokio::time::{sleep, timeout};

use super::cursor::{Cursor, From};
use crate::{
    capabilities::NAME,
    config::{Config, Retention},
    declare::{declare_exchange, text},
    link::{Link, NOT_FOUND, PRECONDITION_FAILED, explain, reply_code},
};

/// How the broker's answer begins if it knows no such queue.
const NO_SUCH: &str = "NOT_FOUND - no queue";
/// The reply code if somebody else holds the lock.
const RESOURCE_LOCKED: ReplyCode = 405;
/// A marker that has not come back by then was dropped, and is written again.
const BACK: Duration = Duration::from_millis(200);
/// Bytes of a marker: the epoch, and a number that its sender knows again.
const MARKER: usize = 16;
/// How long to wait for a stream's answer: one that is deleted meanwhile never gives it.
const ANSWER: Duration = Duration::from_secs(3);
/// Bytes of a segment of the epochs' stream: a cluster's new member copies segments, and there is
/// little to copy.
const EPOCHS_SEGMENT: u64 = 1_000_000;

/// Returns the stream's name.
pub(crate) fn name(config: &Config) -> String {
    format!("hubplane.{}.stream", config.exchange)
}

/// Returns an error that passes by itself.
fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

/// Returns the options of a stream: RabbitMQ has only durable ones.
fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    }
}

/// Returns the name of the stream that keeps the epochs: the last one counts.
pub(crate) fn epochs(config: &Config) -> String {
    name(config) + ".epochs"
}

/// Fails unless the stream is there and answers.
pub(crate) async fn ask(channel: &Channel, config: &Config) -> lapin::Result<()> {
    passive(channel, &name(config)).await
}

/// Fails unless there is such a queue; declares nothing.
async fn passive(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let asked = channel.queue_declare(queue.into(), passive, FieldTable::default());
    asked.await.map(drop)
}

/// Returns true if the broker knows of no such queue. For some tenths of a second after its start,
/// a stream that is there is `NOT_FOUND` as well (its node "is down or inaccessible"); only the
/// words tell the one from the other, and making the stream anew would lose it.
async fn is_missing(link: &Link, queue: &str) -> lapin::Result<bool> {
    let channel = link.channel().await?;
    match passive(&channel, queue).await {
        Ok(()) => {
            let _ = channel.close(200, "done".into()).await;
            Ok(false)
        }
        Err(error) => match error.kind() {
            lapin::ErrorKind::ProtocolError(said)
                if said.get_id() == NOT_FOUND
                    && said.get_message().as_str().starts_with(NO_SUCH) =>
            {
                Ok(true)
            }
            _ => Err(error),
        },
    }
}

/// Creates what is missing of exchange, stream and epoch, and returns the epoch; one instance at a
/// time. `distrusted` is an epoch whose log turned out to be another one: it is replaced, unless
/// somebody else has done so.
pub(crate) async fn ensure(link: &Link, config: &Config, distrusted: Option<u64>) -> Result<u64> {
    let lock = lock(link, config).await?;
    let failed = |error| explain(config, "looking for the stream", error);
    // Without the stream the old epoch is that of a log that is gone; without the epochs nobody
    // knows which log it is.
    let fresh = is_missing(link, &name(config)).await.map_err(failed)?
        || is_missing(link, &epochs(config)).await.map_err(failed)?;
    let epoch = declare(link, config, fresh, distrusted).await?;
    let unlocked = lock.queue_delete(lock_name(config).into(), QueueDeleteOptions::default());
    unlocked.await.map_err(failed)?;
    let _ = lock.close(200, "done".into()).await;
    Ok(epoch)
}

/// Returns the name of the queue that serves as the lock.
fn lock_name(config: &Config) -> String {
    name(config) + ".lock"
}

/// Waits for the lock and returns the channel that holds it. A queue that belongs to one connection
/// is a lock that no crash leaves behind.
async fn lock(link: &Link, config: &Config) -> Result<Channel> {
    let failed = |error| explain(config, "creating the lock (permission configure)", error);
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
                sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Creates what is missing, under the lock, and returns the epoch. With `fresh` the log gets a new
/// one.
async fn declare(
    link: &Link,
    config: &Config,
    fresh: bool,
    distrusted: Option<u64>,
) -> Result<u64> {
    let doing = "creating and binding the streams (permissions configure, write and read)";
    let failed = |error| explain(config, doing, error);
    let channel = link.channel().await.map_err(failed)?;
    declare_exchange(&channel, config).await.map_err(failed)?;
    let epochs = epochs(config);
    let declared = channel.queue_declare(
        epochs.as_str().into(),
        durable(),
        stream_arguments(EPOCHS_SEGMENT),
    );
    declared.await.map_err(failed)?;
    let mut epoch = None;
    if !fresh {
        let (_, last) = one(link, config, &epochs, From::Last).await?;
        epoch = epoch_of(&last).filter(|epoch| Some(*epoch) != distrusted);
    }
    let epoch = match epoch {
        Some(epoch) => epoch,
        // Written before the stream is there: a crash in between leaves no new stream with an old
        // epoch.
        None => {
            let epoch = random()?;
            put(&channel, config, &epochs, &epoch.to_be_bytes()).await?;
            epoch
        }
    };
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
    let _ = channel.close(200, "done".into()).await;
    Ok(epoch)
}

/// Returns the error for a stream that could not be declared. RabbitMQ can't change a stream's
/// arguments, so other settings are `Config`.
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

/// Returns a number as the value of an argument.
fn number(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Returns the arguments that both streams have.
fn stream_arguments(segment_bytes: u64) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("stream"));
    let segment = number(segment_bytes);
    arguments.insert("x-stream-max-segment-size-bytes".into(), segment);
    arguments
}

/// Returns the arguments of the stream of messages
/// (<https://www.rabbitmq.com/docs/streams#retention>).
fn arguments_of(retention: &Retention, config: &Config) -> FieldTable {
    let age = format!("{}s", retention.max_age.as_secs());
    let mut arguments = stream_arguments(retention.segment_bytes);
    arguments.insert("x-max-age".into(), text(&age));
    arguments.insert("x-max-length-bytes".into(), number(config.max_bytes));
    arguments
}

/// Returns a random number, for an epoch or a marker.
fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| unavailable("no randomness").with_source(error))
}

/// Puts one message straight into a stream, by the default exchange, and waits until it is there.
async fn put(channel: &Channel, config: &Config, stream: &str, body: &[u8]) -> Result<()> {
    let failed = |error| {
        explain(
            config,
            "writing to the stream (permission write for amq.default)",
            error,
        )
    };
    let select = ConfirmSelectOptions::default();
    channel.confirm_select(select).await.map_err(failed)?;
    // A stream that is not up would not get it, and yet it would be confirmed.
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default();
    let written = channel.basic_publish("".into(), stream.into(), options, body, properties);
    let confirm = written.await.map_err(failed)?;
    match answer(confirm).await?.map_err(failed)? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(unavailable("the stream takes no messages")),
    }
}

/// Returns the epoch in a marker, or in a message of the epochs' stream: the first 8 bytes of both.
fn epoch_of(body: &[u8]) -> Option<u64> {
    body.first_chunk().copied().map(u64::from_be_bytes)
}

/// Returns true if a message is a marker: it was put straight into the stream; what is published
/// comes by the exchange.
pub(crate) fn is_marker(delivery: &Delivery, config: &Config) -> bool {
    delivery.exchange.as_str().is_empty() && delivery.routing_key.as_str() == name(config)
}

/// Returns false if whoever put this marker reads another log. A marker of another length says
/// nothing of that.
pub(crate) fn agrees(marker: &Delivery, epoch: u64) -> bool {
    marker.data.len() != MARKER || epoch_of(&marker.data) == Some(epoch)
}

/// Returns the offset at the end of the stream: puts a marker there and waits until it comes back.
pub(crate) async fn end(link: &Link, config: &Config, epoch: u64) -> Result<u64> {
    let failed = |error| explain(config, "reading the stream (permission read)", error);
    let stream = name(config);
    let mut cursor = Cursor::open(link, &stream, From::Next)
        .await
        .map_err(failed)?;
    let body = [epoch.to_be_bytes(), random()?.to_be_bytes()].concat();
    let channel = link.channel().await.map_err(failed)?;
    put(&channel, config, &stream, &body).await?;
    let found = answer(find(&mut cursor, config, &body)).await??;
    cursor.close().await;
    let _ = channel.close(200, "done".into()).await;
    Ok(found)
}

/// Reads until this body comes, and returns its offset.
async fn find(cursor: &mut Cursor, config: &Config, body: &[u8]) -> Result<u64> {
    loop {
        match cursor.next().await {
            Some(Ok((offset, delivery))) if delivery.data == body => return Ok(offset),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(explain(config, "looking for a marker", error)),
            None => return Err(unavailable("the stream was deleted")),
        }
    }
}

/// Returns once what is published over this channel is kept. A stream that comes up after a kill is
/// known to the broker before it takes messages; for some tenths of a second RabbitMQ (3.10)
/// confirms what it drops. So only a marker that comes back is believed.
pub(crate) async fn prove(link: &Link, channel: &Channel, config: &Config) -> Result<()> {
    let stream = name(config);
    let cursor = Cursor::open(link, &stream, From::Next).await;
    let mut cursor =
        cursor.map_err(|error| explain(config, "reading the stream (permission read)", error))?;
    // Too short to say anything about the epoch.
    let body = random()?.to_be_bytes();
    loop {
        put(channel, config, &stream, &body).await?;
        if let Ok(found) = timeout(BACK, find(&mut cursor, config, &body)).await {
            found?;
            cursor.close().await;
            return Ok(());
        }
    }
}

/// Returns the offset of the oldest message that is kept.
pub(crate) async fn first(link: &Link, config: &Config) -> Result<u64> {
    let (offset, _) = one(link, config, &name(config), From::First).await?;
    Ok(offset)
}

/// Returns one message of a stream, and its offset. Fails after 3 s if the stream has none there.
async fn one(link: &Link, config: &Config, stream: &str, from: From) -> Result<(u64, Vec<u8>)> {
    let failed = |error| explain(config, "reading the stream (permission read)", error);
    let mut cursor = Cursor::open(link, stream, from).await.map_err(failed)?;
    let (offset, delivery) = match answer(cursor.next()).await? {
        Some(found) => found.map_err(failed)?,
        None => return Err(unavailable("the stream was deleted")),
    };
    cursor.close().await;
    Ok((offset, delivery.data))
}

/// Waits for a stream's answer, for at most 3 s.
async fn answer<T>(waiting: impl Future<Output = T>) -> Result<T> {
    let answer = timeout(ANSWER, waiting).await;
    answer.map_err(|late| unavailable("the stream does not answer").with_source(late))
}
