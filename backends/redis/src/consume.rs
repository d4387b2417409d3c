//! The subscriber: one task that owns the connection on which messages arrive, and the reconnect loop around it.

use std::sync::Arc;

use futures_util::{
    FutureExt,
    stream::{self, StreamExt},
};
use hubplane_backplane::{Channel, Error, ErrorKind, Event, GapCause, Result, Scope};
use redis::{RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::{
    backend::NAME, config::Config, connection::Link, dial::Dialer, failure, inbox::Inbox,
    interest::Interest, outlet::Outlet,
};
use hubplane_kit::Backoff;
use hubplane_kit::ReconnectLog;

/// Channels in one SUBSCRIBE.
const CHUNK: usize = 1_000;
/// Subscriptions on their way at a time where they go one by one.
const AT_ONCE: usize = 64;
/// What clients are told of a channel that Redis refuses.
const FORBIDDEN: &str = "Redis forbids this user to subscribe to the channel";

/// A change of interest, on its way to Redis.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) channels: Vec<Channel>,
    pub(crate) done: oneshot::Sender<Result<()>>,
}

/// Which change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Subscribe,
    Unsubscribe,
}

/// The task's state.
pub(crate) struct Subscriber {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) changes: mpsc::Receiver<Change>,
    pub(crate) renew: Arc<Notify>,
    pub(crate) outlet: Outlet,
    pub(crate) troubles: ReconnectLog,
}

/// Why a connection's time ended.
enum End {
    Lost(String),
    /// Nobody is there to take events, or to ask.
    Abandoned,
}

impl Subscriber {
    /// Lives until the hub's ends are gone; closing drops the future.
    pub(crate) async fn run(mut self, mut link: Link, mut inbox: Arc<Inbox>) {
        let mut backoff = Backoff::default();
        loop {
            inbox.drain();
            let up = Instant::now();
            let End::Lost(reason) = self.serve(&mut link, &inbox).await else {
                return;
            };
            drop(link);
            backoff.lost(up);
            tracing::warn!(backend = NAME, "subscriber: {reason}");
            // What had arrived is not lost.
            self.outlet.empty(&inbox).await;
            self.interest.lock().lose();
            if self.outlet.send(Event::Down(reason)).await.is_err() {
                return;
            }
            let Some(again) = self.reconnect(&mut backoff).await else {
                return;
            };
            (link, inbox) = again;
            // Asked for while it was under way.
            let _ = self.renew.notified().now_or_never();
            self.troubles.end();
        }
    }

    async fn serve(&mut self, link: &mut Link, inbox: &Inbox) -> End {
        let connection = link.connection.clone();
        tokio::select! {
            reason = self.dialer.lost(link) => End::Lost(reason),
            () = self.renew.notified() => End::Lost("the hub asked for another connection".to_owned()),
            () = self.outlet.forward(inbox) => End::Abandoned,
            () = change(&mut self.changes, connection, &self.dialer.config, &self.interest) => End::Abandoned,
        }
    }

    /// Connects until it succeeds, subscribes all that is wanted, and tells what was missed.
    async fn reconnect(&mut self, backoff: &mut Backoff) -> Option<(Link, Arc<Inbox>)> {
        loop {
            let inbox = Arc::new(Inbox::default());
            let mut link = self.redial(backoff, &inbox).await?;
            // From here on changes wait in their queue: what is not in the list taken now is subscribed after.
            let wanted = self.interest.lock().all();
            let mut connection = link.connection.clone();
            let subscribed = tokio::select! {
                reason = self.dialer.lost(&mut link) => Err(reason),
                result = subscribe_again(&mut connection, &self.dialer.config, &wanted) => {
                    result.map_err(|error| format!("subscribing again failed: {error}"))
                }
            };
            let refused = match subscribed {
                Ok(refused) => refused,
                Err(reason) => {
                    tracing::warn!(backend = NAME, "subscriber: {reason}");
                    continue;
                }
            };
            let missed = {
                let mut state = self.interest.lock();
                state.confirm(&wanted);
                state.remove(&refused);
                state.take_missed()
            };
            tracing::info!(
                backend = NAME, node = %link.node, channels = wanted.len(), missed = missed.len(),
                refused = refused.len(), "subscriber: back after {:?}", backoff.elapsed()
            );
            if !missed.is_empty() {
                let gap = Event::Gap {
                    scope: Scope::Channels(missed),
                    cause: GapCause::ConnectionLost,
                };
                self.outlet.send(gap).await.ok()?;
            }
            if !refused.is_empty() {
                let refused = Event::Refused {
                    channels: refused,
                    reason: FORBIDDEN.to_owned(),
                };
                self.outlet.send(refused).await.ok()?;
            }
            self.outlet.send(Event::Up).await.ok()?;
            return Some((link, inbox));
        }
    }

    /// Connects until it succeeds. Changes are answered at once meanwhile: they are in the interest already.
    async fn redial(&mut self, backoff: &mut Backoff, inbox: &Arc<Inbox>) -> Option<Link> {
        let Self {
            dialer,
            changes,
            outlet,
            troubles,
            ..
        } = self;
        let dialling = async {
            loop {
                backoff.wait().await;
                match dialer.dial(None, Some(Arc::clone(inbox))).await {
                    Ok(link) => return Ok::<_, ()>(link),
                    Err(error) => {
                        if let Some(reason) = troubles.note(&error) {
                            outlet.send(Event::Down(reason)).await?;
                        }
                    }
                }
            }
        };
        tokio::pin!(dialling);
        loop {
            tokio::select! {
                link = &mut dialling => return link.ok(),
                change = changes.recv() => {
                    let change = change?;
                    let answer = match change.kind {
                        ChangeKind::Subscribe => Err(away()),
                        ChangeKind::Unsubscribe => Ok(()),
                    };
                    // Who no longer waits needs no answer.
                    let _ = change.done.send(answer);
                }
            }
        }
    }
}

pub(crate) fn away() -> Error {
    failure::unavailable(
        "the subscriber connection is down; the channels are subscribed once it is back",
    )
}

/// Carries out changes one after the other, so that the last one to be asked for is the last one to be done.
async fn change(
    changes: &mut mpsc::Receiver<Change>,
    mut connection: MultiplexedConnection,
    config: &Config,
    interest: &Interest,
) {
    while let Some(change) = changes.recv().await {
        let result = match change.kind {
            ChangeKind::Subscribe => {
                let result = subscribe(&mut connection, config, &change.channels).await;
                match &result {
                    Ok(()) => interest.lock().confirm(&change.channels),
                    Err(error) if error.code().is_some() => {
                        // Refused by Redis: none of the call's channels is added.
                        interest.lock().remove(&change.channels);
                        let _ = unsubscribe(&mut connection, config, &change.channels).await;
                    }
                    Err(_) => {}
                }
                result.map_err(of_subscribe)
            }
            ChangeKind::Unsubscribe => {
                // Nothing of these channels is let through any more, whatever Redis answers.
                let _ = unsubscribe(&mut connection, config, &change.channels).await;
                Ok(())
            }
        };
        // Who no longer waits needs no answer.
        let _ = change.done.send(result);
    }
}

fn of_subscribe(error: RedisError) -> Error {
    match error.code() {
        Some(_) => Error::new(ErrorKind::Rejected, NAME, FORBIDDEN).with_source(error),
        None => away().with_source(error),
    }
}

/// Returns when Redis has confirmed every channel.
async fn subscribe(
    connection: &mut MultiplexedConnection,
    config: &Config,
    channels: &[Channel],
) -> Result<(), RedisError> {
    for chunk in channels.chunks(CHUNK) {
        connection.subscribe(full_names(config, chunk)).await?;
    }
    Ok(())
}

/// The same for all that is wanted, on a new connection. Returns the channels that Redis forbids: it refuses a whole
/// SUBSCRIBE for one of them, so the others are then subscribed one by one.
async fn subscribe_again(
    connection: &mut MultiplexedConnection,
    config: &Config,
    channels: &[Channel],
) -> Result<Vec<Channel>, RedisError> {
    let is_forbidden = |error: &RedisError| error.code() == Some("NOPERM");
    let mut refused = Vec::new();
    for chunk in channels.chunks(CHUNK) {
        match subscribe(connection, config, chunk).await {
            Err(error) if is_forbidden(&error) => {}
            result => {
                result?;
                continue;
            }
        }
        let names = full_names(config, chunk).into_iter().zip(chunk.to_vec());
        let one_by_one = names.map(|(name, channel)| {
            let mut connection = connection.clone();
            async move { (channel, connection.subscribe(name).await) }
        });
        let mut answers = stream::iter(one_by_one).buffered(AT_ONCE);
        while let Some((channel, answer)) = answers.next().await {
            match answer {
                Err(error) if is_forbidden(&error) => refused.push(channel),
                answer => answer?,
            }
        }
    }
    Ok(refused)
}

async fn unsubscribe(
    connection: &mut MultiplexedConnection,
    config: &Config,
    channels: &[Channel],
) -> Result<(), RedisError> {
    for chunk in channels.chunks(CHUNK) {
        connection.unsubscribe(full_names(config, chunk)).await?;
    }
    Ok(())
}

fn full_names(config: &Config, channels: &[Channel]) -> Vec<String> {
    let full = |channel: &Channel| format!("{}{channel}", config.prefix);
    channels.iter().map(full).collect()
}
