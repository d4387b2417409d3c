//! Reads a stream at the broker from some place on, over AMQP 0-9-1
//! (<https://www.rabbitmq.com/docs/streams#consuming>).
//!
//! The stream protocol of its own would be faster, and needs another port and another library. This
//! file must not know what messages mean: markers and publications come out alike.

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};

use crate::{declare::text, link::Link};

/// Messages that the broker sends ahead: lapin queues them without another bound. They are
/// acknowledged in quarters, so that the broker never has to stop.
const PREFETCH: u16 = 400;
const ACK_AFTER: u64 = 100;

/// Where a cursor begins; the values of the argument `x-stream-offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// The oldest message that is kept.
    First,
    /// The newest chunk: messages that were written together.
    Last,
    /// What is written from now on.
    Next,
    /// This offset, or the oldest one that is kept if that is newer.
    Offset(u64),
    /// Seconds of the Unix epoch; the broker begins at a chunk, so somewhat earlier messages may
    /// come first.
    Time(u64),
}

/// A consumer of a stream, on a channel of its own. Acknowledgements are the stream's credit and no
/// more: nothing is removed by them. What was given out is acknowledged when more is asked for.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) channel: Channel,
    consumer: Consumer,
    /// How many messages were given out since the last acknowledgement, and the tag of the last
    /// one.
    given: u64,
    last: u64,
}

impl Cursor {
    /// Begins to read. Once it returns, the broker knows where: with `Next`, what is written
    /// afterwards will come.
    pub(crate) async fn open(link: &Link, stream: &str, from: From) -> lapin::Result<Self> {
        let channel = link.channel().await?;
        let per_consumer = BasicQosOptions::default();
        channel.basic_qos(PREFETCH, per_consumer).await?;
        let from = match from {
            From::First => text("first"),
            From::Last => text("last"),
            From::Next => text("next"),
            From::Offset(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(0)),
            From::Time(seconds) => AMQPValue::Timestamp(seconds),
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), from);
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(stream.into(), "".into(), options, arguments);
        let consumer = consumer.await?;
        Ok(Self {
            channel,
            consumer,
            given: 0,
            last: 0,
        })
    }

    /// Returns the next message and its offset; `None` once the stream is gone. May be dropped at
    /// any await: no message is lost by that.
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

    /// Ends the consumer. A cursor that is only dropped leaves its channel open until the
    /// connection ends.
    pub(crate) async fn close(self) {
        let _ = self.channel.close(200, "done".into()).await;
    }
}

/// Returns the offset that the broker has added to a message.
fn offset(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}
