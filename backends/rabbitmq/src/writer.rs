//! The side that publishes: one task, one connection, confirms. It follows the side that receives from node to node.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use hubplane_backplane::{Error, ErrorKind, Receipt, Result};
use hubplane_kit::Backoff;
use lapin::{
    Channel, Confirmation, Event, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    types::FieldTable,
};
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    capabilities::NAME,
    declare::{declare_exchange, may_publish},
    link::{Link, NOT_FOUND, explain, reply_code},
    message::Prepared,
    publish::{Call, Publisher},
    shared::{SILENCE, Shared},
    streams::log,
    ticket::{Sent, Ticket},
};

/// Messages without a confirm.
const OUTSTANDING: usize = 1_000;
const ASK_EVERY: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(12);
/// For the confirms that are already here when a connection ends.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// A broker that confirms nothing for so long, and blocks nobody, is given up; so is a node that takes no connection.
const STUCK: Duration = Duration::from_secs(5);

const NOT_CONNECTED: &str = "there is no connection to RabbitMQ";
const MOVING: &str = "the side that receives has moved to another node";
const BLOCKED: &str = "RabbitMQ takes no messages now: it is short of memory or of disk";

/// A connection that publishes.
pub(crate) struct Writing {
    link: Link,
    channel: Channel,
    /// Questions go over a channel of their own, so that one about a lost exchange costs no confirms.
    asking: Channel,
    events: BoxStream<'static, Event>,
}

impl Writing {
    async fn start(shared: &Shared) -> Result<Self> {
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

    /// Whether the broker answers and still has the exchange.
    fn ask(&self, shared: &Arc<Shared>) -> Question {
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

type Question = BoxFuture<'static, lapin::Result<()>>;
/// Ends with the error, if it was one of the connection or the channel.
type Confirm = Pin<Box<dyn Future<Output = Option<lapin::Error>> + Send>>;

enum End {
    Stopped,
    Broken(String),
}

/// The task that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
}

impl Writer {
    pub(crate) async fn open(shared: &Arc<Shared>) -> Result<(Publisher, Self, Writing)> {
        let writing = Writing::start(shared).await?;
        let (publisher, calls) = Publisher::new(shared);
        let this = Self {
            shared: Arc::clone(shared),
            calls,
        };
        Ok((publisher, this, writing))
    }

    /// Writes until the backend is closed.
    pub(crate) async fn run(mut self, mut writing: Writing) {
        loop {
            let mut confirms = FuturesUnordered::new();
            let end = self.serve(&mut writing, &mut confirms).await;
            self.shared.publishing.send_replace(false);
            let why = match end {
                End::Stopped => None,
                End::Broken(why) => Some(why),
            };
            if let Some(why) = &why {
                tracing::warn!(why, "nothing can be published to RabbitMQ");
                self.shared.refused(why.clone());
            }
            let rest = async {
                while let Some(failed) = confirms.next().await {
                    self.noted(failed.as_ref());
                }
            };
            let _ = timeout(LAST_WORDS, rest).await;
            // What is left was written and has no answer: its callers learn that here.
            drop(confirms);
            if why.is_none() {
                self.calls.close();
                while self.calls.try_recv().is_ok() {}
                writing.link.close().await;
                return;
            }
            drop(writing);
            match self.reconnect().await {
                Some(next) => writing = next,
                None => return,
            }
            tracing::info!("RabbitMQ takes messages again");
            self.shared.publishing.send_replace(true);
        }
    }

    async fn reconnect(&mut self) -> Option<Writing> {
        let shared = Arc::clone(&self.shared);
        let mut used = shared.nodes.watch();
        let (mut backoff, mut since) = (Backoff::default(), Instant::now());
        loop {
            let pause = backoff.next_wait();
            let mut attempt = std::pin::pin!(async {
                let _ = timeout(pause, shared.reached.notified()).await;
                timeout(ATTEMPT, Writing::start(&shared)).await
            });
            let attempt = loop {
                select! {
                    () = shared.stopped() => return None,
                    // Dropped: its caller learns at once that there is no connection.
                    _ = self.calls.recv() => {}
                    _ = used.changed() => break None,
                    attempt = &mut attempt => break Some(attempt),
                }
            };
            match attempt {
                // The side that receives has found another node: what went before is no word on that one.
                None => (backoff, since) = (Backoff::default(), Instant::now()),
                Some(Ok(Ok(writing))) => return Some(writing),
                Some(Ok(Err(error))) => {
                    let why = error.to_string();
                    tracing::debug!(why, "not connected yet");
                    if shared.refused(why.clone()) && error.kind() == ErrorKind::Config {
                        tracing::warn!(why, "nothing can be published to RabbitMQ");
                    }
                    if error.kind() == ErrorKind::Config {
                        // Another node would say the same.
                        since = Instant::now();
                    }
                }
                Some(Err(_)) => tracing::debug!("not connected yet: no answer"),
            }
            if since.elapsed() > STUCK {
                shared.leave_node();
            }
        }
    }

    async fn serve(
        &mut self,
        writing: &mut Writing,
        confirms: &mut FuturesUnordered<Confirm>,
    ) -> End {
        let shared = Arc::clone(&self.shared);
        let mut current: Option<Call> = None;
        let mut question: Option<Question> = None;
        let (mut ask_due, mut silent_at) = (Instant::now() + ASK_EVERY, Instant::now());
        let mut confirmed_at = Instant::now();
        let mut used = shared.nodes.watch();
        loop {
            if !writing.channel.status().connected() {
                return End::Broken(NOT_CONNECTED.to_owned());
            }
            if *used.borrow_and_update() != writing.link.node {
                return End::Broken(MOVING.to_owned());
            }
            if confirms.is_empty() {
                confirmed_at = Instant::now();
            }
            while let Some(call) = &mut current
                && confirms.len() < OUTSTANDING
            {
                match call.messages.next() {
                    Some((index, message)) => {
                        let ticket = Arc::clone(&call.ticket);
                        write(writing, &shared, (index, message), &ticket, confirms);
                    }
                    None => current = None,
                }
            }
            select! {
                biased;
                () = shared.stopped() => return End::Stopped,
                Some(failed) = confirms.next() => match failed {
                    Some(error) => return self.broken(&error),
                    None => {
                        confirmed_at = Instant::now();
                        silent_at = silent_at.max(confirmed_at + SILENCE);
                    }
                },
                Some(event) = writing.events.next() => match event {
                    Event::Error(error) => return self.broken(&error),
                    Event::ConnectionBlocked(why) => tracing::warn!(why, BLOCKED),
                    Event::ConnectionUnblocked => tracing::info!("RabbitMQ takes messages again"),
                    _ => {}
                },
                _ = used.changed() => {}
                () = sleep_until(confirmed_at + STUCK), if !confirms.is_empty() => {
                    if !writing.link.blocked() {
                        shared.leave_node();
                        return End::Broken("RabbitMQ confirms nothing".to_owned());
                    }
                    confirmed_at = Instant::now();
                }
                call = self.calls.recv(), if current.is_none() => match call {
                    Some(call) => current = Some(call),
                    None => return End::Stopped,
                },
                answer = answer(&mut question) => match answer {
                    Ok(()) => ask_due = Instant::now() + ASK_EVERY,
                    Err(error) => return self.broken(&error),
                },
                () = sleep_until(ask_due), if question.is_none() => {
                    question = Some(writing.ask(&shared));
                    silent_at = Instant::now() + SILENCE;
                }
                () = sleep_until(silent_at), if question.is_some() => {
                    // A broker that blocks us reads nothing, so it can't answer; the heartbeat watches over it.
                    if !writing.link.blocked() {
                        return End::Broken("RabbitMQ does not answer".to_owned());
                    }
                    silent_at = Instant::now() + SILENCE;
                }
            }
        }
    }

    fn broken(&self, error: &lapin::Error) -> End {
        self.noted(Some(error));
        End::Broken(error.to_string())
    }

    fn noted(&self, error: Option<&lapin::Error>) {
        if error.and_then(reply_code) == Some(NOT_FOUND) {
            self.shared.exchange_lost.notify_one();
        }
    }
}

async fn answer(question: &mut Option<Question>) -> lapin::Result<()> {
    match question {
        Some(open) => {
            let answer = open.await;
            *question = None;
            answer
        }
        None => pending().await,
    }
}

/// Hands one message to lapin, in the order of the calls.
fn write(
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

fn confirmed(sent: Sent, confirm: lapin::Result<Confirmation>) -> Option<lapin::Error> {
    match confirm {
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
