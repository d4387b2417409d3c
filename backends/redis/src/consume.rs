//! The subscriber: one task that owns the connection on which messages arrive, and the loop that
//! reconnects it.
//!
//! After a loss the order is what the contract asks for: first all that had arrived, then `Down`;
//! on the next connection all subscriptions, then the `Gap` for what was missed, then `Up`. Which
//! channels are wanted is kept in [`crate::interest`], what a message says is read in
//! [`crate::outlet`], and the node is chosen in [`crate::dial`].

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

/// Channels in one SUBSCRIBE. Redis carries a command out as a whole, and serves nobody else
/// meanwhile.
const CHUNK: usize = 1_000;
/// Subscriptions on their way at a time, if they must go one by one because Redis refuses some.
const AT_ONCE: usize = 64;
/// What clients are told of a channel that Redis refuses.
const FORBIDDEN: &str = "Redis forbids this user to subscribe to the channel";

/// A change of interest, on its way to Redis. The sender of the answer may be gone by then.
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

/// What the subscribing task owns.
pub(crate) struct Subscriber {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) changes: mpsc::Receiver<Change>,
    pub(crate) renew: Arc<Notify>,
    pub(crate) outlet: Outlet,
    pub(crate) troubles: ReconnectLog,
}

/// Why the subscriber stopped using a connection.
enum End {
    Lost(String),
    /// Nobody takes events or asks for changes any more: the instance is gone.
    Abandoned,
}

impl Subscriber {
    /// Receives until the hub's ends of the queues are gone. Closing the instance drops this
    /// future, at whatever await.
    pub(crate) async fn run(mut self, mut link: Link, mut inbox: Arc<Inbox>) {
        let mut backoff = Backoff::default();
        loop {
            // From here on somebody empties the inbox, so a full one may stop the reading.
            inbox.drain();
            let up = Instant::now();
            let End::Lost(reason) = self.serve(&mut link, &inbox).await else {
                return;
            };
            drop(link);
            backoff.lost(up);
            tracing::warn!(backend = NAME, "subscriber: {reason}");
            // These messages arrived before the loss: the hub gets them before it is told of it.
            self.outlet.empty(&inbox).await;
            self.interest.lock().lose();
            if self.outlet.send(Event::Down(reason)).await.is_err() {
                return;
            }
            let Some(again) = self.reconnect(&mut backoff).await else {
                return;
            };
            (link, inbox) = again;
            // A renewal that the hub asked for during the reconnection is done by it.
            let _ = self.renew.notified().now_or_never();
            self.troubles.end();
        }
    }

    /// Forwards messages and carries out changes over one connection, until it ends.
    async fn serve(&mut self, link: &mut Link, inbox: &Inbox) -> End {
        let connection = link.connection.clone();
        tokio::select! {
            reason = self.dialer.lost(link) => End::Lost(reason),
            () = self.renew.notified() => End::Lost("the hub asked for another connection".to_owned()),
            () = self.outlet.forward(inbox) => End::Abandoned,
            () = change(&mut self.changes, connection, &self.dialer.config, &self.interest) => End::Abandoned,
        }
    }

    /// Connects until it succeeds, subscribes to all that is wanted, and tells what was missed.
    /// Returns `None` if nobody takes events any more.
    async fn reconnect(&mut self, backoff: &mut Backoff) -> Option<(Link, Arc<Inbox>)> {
        loop {
            // A new inbox: what a failed try had received lies before the gap, and must not come
            // behind it.
            let inbox = Arc::new(Inbox::default());
            let mut link = self.redial(backoff, &inbox).await?;
            // From here on changes wait in their queue: a channel that is not in this list is
            // subscribed after it.
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
            // In one step, so that no change of interest comes between what is confirmed and what
            // was missed.
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
            // The inbox is emptied from now on: `run` calls `drain`.
            return Some((link, inbox));
        }
    }

    /// Connects until it succeeds; returns `None` if nobody takes events any more. Changes are
    /// answered at once meanwhile: they are in the interest already, and will be subscribed with
    /// it.
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
                        // The caller learns that it is not confirmed; the channel is subscribed
                        // with all others.
                        ChangeKind::Subscribe => Err(away()),
                        ChangeKind::Unsubscribe => Ok(()),
                    };
                    // A caller that no longer waits has dropped its end.
                    let _ = change.done.send(answer);
                }
            }
        }
    }
}

/// Returns the answer to a change that Redis has not confirmed.
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
                    // Refused by Redis: none of the call's channels is added, as the contract says.
                    // Some of its chunks may have been subscribed before, so all are taken back.
                    Err(error) if error.code().is_some() => {
                        interest.lock().remove(&change.channels);
                        let _ = unsubscribe(&mut connection, config, &change.channels).await;
                    }
                    // The connection broke: the channels stay in the interest and are subscribed on
                    // the next one.
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
        // A caller that no longer waits has dropped its end.
        let _ = change.done.send(result);
    }
}

/// Returns the error for a subscription that failed: `Rejected` if Redis refused it, `Unavailable`
/// if the connection broke.
fn of_subscribe(error: RedisError) -> Error {
    match error.code() {
        Some(_) => Error::new(ErrorKind::Rejected, NAME, FORBIDDEN).with_source(error),
        None => away().with_source(error),
    }
}

/// Subscribes to channels. Returns when Redis has confirmed every one of them: from then on no
/// message is missed.
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

/// Subscribes to all that is wanted on a new connection. Returns the channels that Redis forbids;
/// they cost the others nothing but time: it refuses a whole SUBSCRIBE for one of them, so those of
/// the chunk are then subscribed one by one.
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
        // Redis says only that one of them is forbidden, not which.
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

/// Tells Redis that channels are no longer wanted.
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

/// Returns the channels' names on the broker.
fn full_names(config: &Config, channels: &[Channel]) -> Vec<String> {
    let full = |channel: &Channel| format!("{}{channel}", config.prefix);
    channels.iter().map(full).collect()
}
