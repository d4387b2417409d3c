//! Three RabbitMQ nodes: the plain client.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    options::*,
    types::{AMQPValue, FieldTable},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::notes::{EVERY, Notes};
use crate::Result;

/// A message that has not come back by then is given up, and so is the node.
const LIMIT: Duration = Duration::from_secs(2);

/// What the plain client reads, beside the hubs that it is compared with.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    /// The nodes' ports for clients, the leader's first.
    pub(super) ports: Vec<u16>,
    /// Its own queue, or stream.
    pub(super) name: String,
    /// A stream with a copy on each node; else a queue that ends with its connection.
    pub(super) stream: bool,
}

/// Publishes and waits for its message, each 50 ms; after an error it goes to the next node.
pub(super) async fn probe(plain: Plain, notes: Notes) -> Result<()> {
    let mut tick = interval(EVERY);
    // A message that is late is not made up for: it would hide the pause.
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut nodes = plain.ports.iter().cycle();
    let mut link: Option<Link> = None;
    while !notes.is_ended() {
        tick.tick().await;
        let done = timeout(LIMIT, async {
            if link.is_none() {
                let port = nodes.next().ok_or("no nodes")?;
                link = Some(Link::open(*port, &plain).await?);
            }
            link.as_mut().ok_or("no connection")?.once(&plain).await
        });
        match done.await {
            Ok(Ok(())) => notes.arrived(0),
            // Whatever failed, the next try is at the next node.
            Ok(Err(_)) | Err(_) => link = None,
        }
    }
    Ok(())
}

/// One connection that publishes and reads.
struct Link {
    channel: Channel,
    consumer: Consumer,
    /// Held, since the channel ends with it.
    _connection: Connection,
}

impl Link {
    async fn open(port: u16, plain: &Plain) -> Result<Self> {
        let address = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let connection = Connection::connect(&address, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut kind = FieldTable::default();
        let mut declare = QueueDeclareOptions::default();
        // See RabbitMQ's manual, "Streams", for these arguments.
        if plain.stream {
            let text = |word: &str| AMQPValue::LongString(word.into());
            kind.insert("x-queue-type".into(), text("stream"));
            // The first declaration is made at the node that leads for the hubs.
            kind.insert("x-queue-leader-locator".into(), text("client-local"));
            declare.durable = true;
        } else {
            // Exclusive: it ends with its connection.
            declare.exclusive = true;
        }
        // A node that is away may still own the old queue's name, so each connection has a queue of its own.
        let name = if plain.stream {
            plain.name.as_str()
        } else {
            ""
        };
        let queue = channel.queue_declare(name.into(), declare, kind).await?;
        let (exchange, bind) = (plain.name.as_str(), QueueBindOptions::default());
        channel
            .exchange_declare(
                exchange.into(),
                lapin::ExchangeKind::Fanout,
                ExchangeDeclareOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let none = FieldTable::default();
        channel
            .queue_bind(queue.name().clone(), exchange.into(), "".into(), bind, none)
            .await?;
        // A stream can't be read without a limit of unacknowledged messages.
        channel.basic_qos(100, BasicQosOptions::default()).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel
            .basic_consume(queue.name().clone(), "".into(), options, none)
            .await?;
        Ok(Self {
            channel,
            consumer,
            _connection: connection,
        })
    }

    /// Publishes one message and waits until it comes back.
    async fn once(&mut self, plain: &Plain) -> Result<()> {
        self.channel
            .basic_publish(
                plain.name.as_str().into(),
                "".into(),
                BasicPublishOptions::default(),
                b"x",
                BasicProperties::default(),
            )
            .await?;
        let delivery = self.consumer.next().await.ok_or("cancelled")??;
        Ok(delivery.ack(BasicAckOptions::default()).await.map(drop)?)
    }
}
