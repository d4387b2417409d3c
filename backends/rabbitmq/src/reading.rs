//! One connection that receives, and why it ends.

use hubplane_backplane::GapCause;
use lapin::{
    Channel, Consumer, ErrorKind,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{
    instance_queue::InstanceQueue,
    link::Link,
    progress::{PREFETCH, Progress},
    shared::SILENCE,
    witness::Witness,
};

/// A connection that receives.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) link: Link,
    pub(crate) channel: Channel,
    pub(crate) consumer: Consumer,
    pub(crate) witness: Witness,
}

impl Reading {
    pub(crate) async fn start(
        link: Link,
        queue: &InstanceQueue,
        witness: Witness,
    ) -> lapin::Result<Self> {
        let channel = link.channel().await?;
        let per_consumer = BasicQosOptions::default();
        channel.basic_qos(PREFETCH, per_consumer).await?;
        // Exclusive: another consumer that the broker still believes alive would get, and hold, half of the messages.
        let options = BasicConsumeOptions {
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let name = queue.name.as_str().into();
        let consumer = channel
            .basic_consume(name, "".into(), options, FieldTable::default())
            .await?;
        Ok(Self {
            link,
            channel,
            consumer,
            witness,
        })
    }

    pub(crate) async fn ack(&self, progress: &mut Progress) -> Result<(), End> {
        progress.ack_due = None;
        if progress.acked == progress.taken {
            return Ok(());
        }
        progress.acknowledging = progress.taken;
        let all = BasicAckOptions { multiple: true };
        let ack = self.channel.basic_ack(progress.taken, all);
        match timeout(SILENCE, ack).await {
            Ok(Ok(())) => progress.acked = progress.taken,
            Ok(Err(error)) => return Err(End::Broken(error.to_string())),
            Err(_) => return Err(End::silent()),
        }
        Ok(())
    }
}

/// Why a reading ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The backend was closed; what is to be deleted can be deleted over this connection.
    Stopped(Box<Link>),
    Broken(String),
    /// The queue can't be used any more.
    Unusable(String, GapCause),
}

impl End {
    pub(crate) fn silent() -> Self {
        Self::Broken("RabbitMQ does not answer".to_owned())
    }

    /// What the consumer's stream says when it has no message.
    pub(crate) fn of(delivery: Option<lapin::Error>) -> Self {
        match delivery {
            Some(error) if matches!(error.kind(), ErrorKind::ParsingError(_)) => Self::Unusable(
                "the queue holds a message that can't be read: its routing key or another name is not UTF-8"
                    .to_owned(),
                GapCause::Undecodable,
            ),
            Some(error) => Self::Broken(error.to_string()),
            None => Self::Broken("RabbitMQ ended the consumer: the queue was deleted, or its node is away".to_owned()),
        }
    }
}
