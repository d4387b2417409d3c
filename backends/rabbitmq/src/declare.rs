//! What both backends declare at the broker, and how they ask for it. Declaring what is there with
//! the same settings changes nothing (AMQP 0-9-1, `queue.declare`;
//! <https://www.rabbitmq.com/amqp-0-9-1-reference>).

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeUnbindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::config::Config;

/// Returns the name of the exchange for what the instances' queues drop.
pub(crate) fn dead_letters(config: &Config) -> ShortString {
    format!("{}.lost", config.exchange).into()
}

/// Creates the fanout exchange if it is not there. Fails with `PRECONDITION_FAILED` if it is there
/// as another kind; the channel is closed then.
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

/// Fails if the user may not publish to the exchange, which RabbitMQ would otherwise say only of
/// the first message. Taking back a binding that nobody made changes nothing, and asks for the
/// permission to write.
pub(crate) async fn may_publish(channel: &Channel, config: &Config) -> lapin::Result<()> {
    let exchange = ShortString::from(config.exchange.as_str());
    let (options, none) = (ExchangeUnbindOptions::default(), FieldTable::default());
    let key = "hubplane.may-publish".into();
    channel
        .exchange_unbind(exchange.clone(), exchange, key, options, none)
        .await
}

/// Returns how many messages of a queue wait for a consumer. Fails with `NOT_FOUND`, and closes the
/// channel, if there is no such queue.
pub(crate) async fn count(channel: &Channel, queue: &str) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default());
    Ok(found.await?.message_count())
}

/// Returns a text as the value of an argument.
pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
