//! One connection that publishes: how it is opened, what is asked over it, and how one message is
//! written and confirmed.
//!
//! Both backends publish by it. A confirm says that the broker has the message in every queue that
//! is bound (<https://www.rabbitmq.com/docs/confirms#publisher-confirms>); which messages are
//! written, and in which order, is the task's matter: [`crate::writer`].

use std::{pin::Pin, sync::Arc};

use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use hubplane_backplane::{Error, ErrorKind, Receipt, Result};
use lapin::{
    Channel, Confirmation, Event, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    types::FieldTable,
};

use crate::{
    capabilities::NAME,
    declare::{declare_exchange, may_publish},
    link::{Link, explain},
    message::Prepared,
    shared::Shared,
    streams::log,
    ticket::{Sent, Ticket},
};

/// The reason for messages that find no connection, and for the end of one that is found closed.
pub(crate) const NOT_CONNECTED: &str = "there is no connection to RabbitMQ";
/// The reason for messages that come while the broker blocks publishers, and the log line when it
/// begins to.
pub(crate) const BLOCKED: &str = "RabbitMQ takes no messages now: it is short of memory or of disk";

/// A connection that publishes.
pub(crate) struct Writing {
    pub(crate) link: Link,
    pub(crate) channel: Channel,
    /// Questions go over a channel of their own, so that one about a lost exchange costs no confirms.
    asking: Channel,
    pub(crate) events: BoxStream<'static, Event>,
}

impl Writing {
    /// Connects to the node that the instance uses and makes sure that messages would be taken: the
    /// exchange is there, the user may publish, and a stream keeps what it confirms.
    pub(crate) async fn start(shared: &Shared) -> Result<Self> {
        let config = &shared.config;
        let failed = |error| explain(config, "publishing (permission write)", error);
        let link = Link::dial_node(config, shared.nodes.used(), "publish").await?;
        let events = link.events();
        let channel = link.channel().await.map_err(failed)?;
        declare_exchange(&channel, config).await.map_err(failed)?;
        may_publish(&channel, config).await.map_err(failed)?;
        let select = ConfirmSelectOptions::default();
        channel.confirm_select(select).await.map_err(failed)?;
        if config.retention.is_some() {
            log::prove(&link, &channel, config).await?;
        }
        let asking = link.channel().await.map_err(failed)?;
        Ok(Self {
            link,
            channel,
            asking,
            events,
        })
    }

    /// Asks whether the broker answers and still has the exchange.
    pub(crate) fn ask(&self, shared: &Arc<Shared>) -> Question {
        let (channel, shared) = (self.asking.clone(), Arc::clone(shared));
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        async move {
            let name = shared.config.exchange.as_str().into();
            let (kind, none) = (ExchangeKind::Fanout, FieldTable::default());
            channel.exchange_declare(name, kind, passive, none).await
        }
        .boxed()
    }
}

/// A question to the broker; an error says that the connection, or the exchange, is gone.
pub(crate) type Question = BoxFuture<'static, lapin::Result<()>>;
/// Waits for the confirm of one message and settles it. Returns the error if it was one of the
/// connection or the channel.
pub(crate) type Confirm = Pin<Box<dyn Future<Output = Option<lapin::Error>> + Send>>;

/// Hands one message to lapin, in the order of the calls; refuses it if it would only wait there.
pub(crate) fn write(
    writing: &Writing,
    shared: &Arc<Shared>,
    (index, message): (usize, Prepared),
    ticket: &Arc<Ticket>,
    confirms: &FuturesUnordered<Confirm>,
) {
    let refuse = |why| {
        let error = Error::new(ErrorKind::Unavailable, NAME, why);
        ticket.settle(index, Err(error));
    };
    // What lapin is given while the connection is blocked would be written later, long after the answer.
    if writing.link.blocked() {
        return refuse(BLOCKED);
    }
    if !writing.channel.status().connected() {
        return refuse(NOT_CONNECTED);
    }
    let Some(sent) = ticket.send(index) else {
        return;
    };
    let (channel, shared) = (writing.channel.clone(), Arc::clone(shared));
    let mut confirm: Confirm = Box::pin(async move {
        let Prepared {
            routing_key,
            data,
            properties,
        } = message;
        let (exchange, options) = (
            shared.config.exchange.as_str().into(),
            BasicPublishOptions {
                // A stream that is gone must not look like one that has the message.
                mandatory: shared.config.retention.is_some(),
                ..BasicPublishOptions::default()
            },
        );
        let written = channel.basic_publish(exchange, routing_key, options, &data, properties);
        let confirm = match written.await {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        confirmed(sent, confirm)
    });
    // The first poll queues the frames, so it must come before the next message's; the rest may come in any order.
    // A failure is met again at the next poll of whatever is open, or of the connection's events.
    if (&mut confirm).now_or_never().is_none() {
        confirms.push(confirm);
    }
}

/// Settles one message by what the broker said of it.
fn confirmed(sent: Sent, confirm: lapin::Result<Confirmation>) -> Option<lapin::Error> {
    match confirm {
        // Returned although it was mandatory: no stream is bound to the exchange.
        Ok(Confirmation::Ack(Some(_))) => {
            let message = "the stream is gone; it is being made anew";
            sent.settle(Err(Error::new(ErrorKind::Unavailable, NAME, message)));
            None
        }
        Ok(Confirmation::Ack(None)) => {
            sent.settle(Ok(Receipt::Accepted));
            None
        }
        // A queue process died on it; other queues may have the message.
        Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => None,
        Err(error) => {
            sent.unconfirmed(&error);
            Some(error)
        }
    }
}
