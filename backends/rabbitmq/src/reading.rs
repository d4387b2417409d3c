//! One connection that receives: its channel, its consumer and the witness beside it; how it is
//! begun, and why it ends. What is done with the deliveries is in [`crate::serve`].

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

/// A connection that receives from the instance's queue.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) link: Link,
    pub(crate) channel: Channel,
    pub(crate) consumer: Consumer,
    pub(crate) witness: Witness,
}

impl Reading {
    /// Starts to consume from the queue over this connection. Fails if another consumer still has
    /// the queue.
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

    /// Acknowledges all that was taken. Only what is in the hub's queue of events counts as taken,
    /// so a crash before that loses nothing. An error ends the reading.
    pub(crate) async fn ack(&self, progress: &mut Progress) -> Result<(), End> {
        progress.ack_due = None;
        if progress.acked == progress.taken {
            return Ok(());
        }
        progress.acknowledging = progress.taken;
        let all = BasicAckOptions { multiple: true };
        let ack = self.channel.basic_ack(progress.taken, all);
        // lapin waits with the acknowledgement while the socket takes no bytes.
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
    /// The connection or its channel broke; the queue may still hold everything.
    Broken(String),
    /// The queue can't be used any more; the next connection makes another one, and a gap with this
    /// cause is told.
    Unusable(String, GapCause),
}

impl End {
    /// Returns the end of a connection whose broker does not answer.
    pub(crate) fn silent() -> Self {
        Self::Broken("RabbitMQ does not answer".to_owned())
    }

    /// Returns what the end, or an error, of the consumer's stream means.
    pub(crate) fn of(delivery: Option<lapin::Error>) -> Self {
        match delivery {
            // lapin gives up the connection on a name that isn't UTF-8. On the next one the same
            // message would come first again, so the queue must go.
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
