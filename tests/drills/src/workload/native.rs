//! A publisher that is no hubplane: it writes to the broker as any program would, and names its messages where the
//! broker lets it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties, options::*};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Journal, Payload, Shared, Stage, fnv, random::Random, resp::Resp};
use crate::{Result, backend::Kind, checker::What};

/// For connecting, and for one message.
const LIMIT: Duration = Duration::from_secs(5);

/// Where to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    kind: Kind,
    authority: String,
    space: String,
    /// Messages go to other lanes than the hub would choose.
    astray: bool,
}

impl Target {
    /// The same, by a program that chooses lanes in its own way.
    pub(crate) fn astray(self, astray: bool) -> Self {
        Self { astray, ..self }
    }

    pub(crate) fn new(kind: Kind, authority: &str, space: &str) -> Self {
        Self {
            kind,
            authority: authority.to_owned(),
            space: space.to_owned(),
            astray: false,
        }
    }

    async fn connect(&self) -> Result<Link> {
        let opening = async {
            Ok(match self.kind {
                Kind::Memory => return Err("an embedded backend has no broker".into()),
                Kind::Redis | Kind::RedisStreams => {
                    Link::Redis(Resp::connect(&self.authority).await?)
                }
                Kind::Kafka => Link::Kafka(Box::new(self.producer()?)),
                Kind::Rabbitmq | Kind::AmqpStreams => {
                    let address = format!("amqp://guest:guest@{}", self.authority);
                    let connection =
                        Connection::connect(&address, ConnectionProperties::default()).await?;
                    let channel = connection.create_channel().await?;
                    channel
                        .confirm_select(ConfirmSelectOptions::default())
                        .await?;
                    Link::Amqp(Box::new((connection, channel)))
                }
            })
        };
        timeout(LIMIT, opening).await?
    }

    fn producer(&self) -> Result<FutureProducer> {
        // CRC-32 is librdkafka's own choice, which programs have that name none.
        let partitioner = match self.astray {
            true => "consistent",
            false => "murmur2",
        };
        Ok(ClientConfig::new()
            .set("bootstrap.servers", &self.authority)
            .set("enable.idempotence", "true")
            .set("partitioner", partitioner)
            .set("linger.ms", "0")
            .set("message.timeout.ms", "4500")
            .set("reconnect.backoff.max.ms", "500")
            .create()?)
    }
}

/// A connection to a broker, with its own library.
enum Link {
    Redis(Resp),
    Kafka(Box<FutureProducer>),
    Amqp(Box<(Connection, lapin::Channel)>),
}

impl Link {
    /// Returns when the broker has acknowledged.
    async fn publish(&mut self, target: &Target, channel: &str, data: &str) -> Result<()> {
        match self {
            Self::Redis(link) if target.kind == Kind::RedisStreams => {
                let key = stream_key(&target.space, channel, u16::from(target.astray));
                link.ask(&["XADD", &key, "*", "c", channel, "d", data])
                    .await
                    .map(drop)
            }
            Self::Redis(link) => {
                let name = format!("{}:{channel}", target.space);
                link.ask(&["PUBLISH", &name, data]).await.map(drop)
            }
            Self::Kafka(producer) => {
                // A topic that is made anew takes again what the producer, without an answer, tries again.
                let name = format!("{:x}", fnv(data.as_bytes()));
                let id = Header {
                    key: "hubplane-id",
                    value: Some(&name),
                };
                let record = FutureRecord::to(&target.space)
                    .headers(OwnedHeaders::new().insert(id))
                    .key(channel)
                    .payload(data);
                producer
                    .send(record, LIMIT)
                    .await
                    .map_err(|(error, _)| error)?;
                Ok(())
            }
            Self::Amqp(link) => {
                let options = BasicPublishOptions {
                    // What comes before the stream is up is routed nowhere, and confirmed all the same.
                    mandatory: target.kind == Kind::AmqpStreams,
                    ..BasicPublishOptions::default()
                };
                // What a queue gives out again after a lost connection is known by its name.
                let name = format!("{:x}", fnv(data.as_bytes()));
                let properties = BasicProperties::default().with_message_id(name.into());
                let confirm = link.1.basic_publish(
                    target.space.as_str().into(),
                    channel.into(),
                    options,
                    data.as_bytes(),
                    properties,
                );
                match confirm.await?.await? {
                    Confirmation::Ack(None) => Ok(()),
                    _ => Err("not confirmed, or returned".into()),
                }
            }
        }
    }

    fn end(&self) {
        if let Self::Kafka(producer) = self {
            producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        }
    }
}

/// As many streams as the backend makes where its address does not say.
const STREAMS: u16 = 4;

/// The stream that a channel lives in, by CRC-16/XMODEM of its name, or one so many further on.
fn stream_key(space: &str, channel: &str, further: u16) -> String {
    let mut crc = 0_u16;
    for byte in channel.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    format!("{space}:stream:{{{}}}", crc.wrapping_add(further) % STREAMS)
}

#[test]
fn the_checksum_is_xmodems() {
    // Its check value is 0x31c3 = 12739, which leaves 3.
    assert_eq!(stream_key("s", "123456789", 0), "s:stream:{3}");
}

struct Writer {
    name: String,
    seq: u64,
    target: Target,
    link: Option<Link>,
    journal: Journal,
    bytes: usize,
}

impl Writer {
    async fn publish(&mut self, channel: &str) -> Result<bool> {
        if self.link.is_none() {
            // Nothing has been published that could be lost or not.
            self.link = self.target.connect().await.ok();
        }
        let Some(link) = &mut self.link else {
            sleep(Duration::from_millis(100)).await;
            return Ok(false);
        };
        self.seq += 1;
        let (publisher, seq) = (self.name.clone(), self.seq);
        let data = Payload::write(&self.name, self.seq, self.bytes);
        let hash = fnv(data.as_bytes());
        let channel_name = channel.to_owned();
        self.journal.write(&What::Publish {
            channel: channel_name,
            publisher: publisher.clone(),
            seq,
            hash,
            native: true,
        })?;
        let done = timeout(LIMIT, link.publish(&self.target, channel, &data)).await;
        let accepted = matches!(done, Ok(Ok(())));
        if accepted {
            self.journal.write(&What::Ack {
                publisher,
                seq,
                tries: 1,
            })?;
        } else {
            self.journal.write(&What::Unknown { publisher, seq })?;
            link.end();
            self.link = None;
            if self.target.kind == Kind::AmqpStreams {
                // RabbitMQ drops, and confirms, what comes before the stream is wholly up; mandatory tells most of it.
                sleep(Duration::from_secs(2)).await;
            }
        }
        Ok(accepted)
    }
}

/// Publishes its share of the rate until the run settles.
pub(crate) async fn run(
    name: &str,
    target: Target,
    share: f64,
    shared: Arc<Shared>,
    journal: Journal,
) -> Result<()> {
    let mut writer = Writer {
        name: name.to_owned(),
        seq: 0,
        target,
        link: None,
        journal,
        bytes: shared.bytes,
    };
    let mut random = Random::new(shared.seed, fnv(name.as_bytes()));
    let mut tick = interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut due = 0.0;
    while *shared.stage.borrow() == Stage::Running {
        tick.tick().await;
        due += f64::from(shared.rate.load(Ordering::Relaxed)) * share * 0.01;
        while due >= 1.0 && *shared.stage.borrow() == Stage::Running {
            due -= 1.0;
            let channel = shared.channel(random.next());
            if !writer.publish(&channel).await? {
                due = 0.0;
            }
        }
    }
    writer.journal.flush()
}

/// Publishes so many, as fast as they are acknowledged.
pub(crate) async fn some(
    name: &str,
    target: Target,
    count: u64,
    shared: &Shared,
    journal: Journal,
) -> Result<()> {
    let mut writer = Writer {
        name: name.to_owned(),
        seq: 0,
        target,
        link: None,
        journal,
        bytes: shared.bytes,
    };
    let (mut done, mut failed) = (0, 0);
    while done < count {
        let channel = shared.channel(done);
        if writer.publish(&channel).await? {
            done += 1;
        } else {
            failed += 1;
            if failed > 100 {
                return Err(format!("{name}: the broker takes nothing").into());
            }
        }
    }
    writer.journal.flush()
}
