//! The calls of an instance, as a hub makes them, with their faults.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, ErrorKind, History, Opened, Outgoing, Page, Position, Receipt, Result,
    Start,
};
use tokio::time::{interval, sleep};

use super::{
    Fault, MAX_CHANNEL, MAX_PAYLOAD,
    broker::{Broker, EPOCH, Sender, position},
    error,
    instance::Instance,
};

/// How often a log that moved is reported.
const PROGRESS: Duration = Duration::from_millis(300);
/// The size of the batches that are acknowledged too early: that of the case about `close`, so that no other sees it.
const EARLY: usize = 20;

/// What the hub holds. Each fault is in one place, and touches nothing else.
#[derive(Clone, Debug)]
struct Handle(Arc<Held>);

/// Shared by the handle and its tasks.
#[derive(Debug)]
struct Held {
    broker: Arc<Broker>,
    space: String,
    instance: Arc<Instance>,
    /// With [`Fault::StoresWhatItRefuses`]: what was refused, and is published later all the same.
    kept: Mutex<Vec<Outgoing>>,
}

/// Connects an instance to a space of the broker, and starts its task.
pub(crate) fn open(broker: &Arc<Broker>, space: &str, fault: Option<Fault>) -> Opened {
    let mut events = None;
    let instance = broker.join(space, |number, end| {
        let (instance, its_events) = Instance::new(fault, number, end);
        events = Some(its_events);
        Arc::new(instance)
    });
    let handle = Handle(Arc::new(Held {
        broker: Arc::clone(broker),
        space: space.to_owned(),
        instance,
        kept: Mutex::default(),
    }));
    // The task ends when the instance is closed.
    tokio::spawn(handle.clone().tick());
    Opened {
        backplane: Arc::new(handle),
        events: events.expect("made with the instance"),
    }
}

impl Handle {
    /// Whether this instance has the fault. At most one at a time.
    fn has(&self, fault: Fault) -> bool {
        self.0.instance.has(fault)
    }

    /// `Closed` if the instance is closed.
    fn open(&self) -> Result<()> {
        match self.0.instance.is_closed() {
            true => Err(error(ErrorKind::Closed)),
            false => Ok(()),
        }
    }

    /// Reports the end of the log, as the contract asks of a backend with positions, and publishes what a fault has
    /// kept.
    async fn tick(self) {
        let mut ticks = interval(PROGRESS);
        while !self.0.instance.is_closed() {
            // At once at the beginning, and then every [`PROGRESS`].
            ticks.tick().await;
            let tell = |end| self.0.instance.progress(end);
            self.0.broker.at_end(&self.0.space, tell);
            // The broker is back: what was "surely not stored" is stored now, which is the fault.
            if self.0.instance.is_up() {
                let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.retain(|outgoing| self.send(outgoing).is_none());
            }
        }
    }

    /// Gives a message to the broker. `None` if that is down.
    fn send(&self, outgoing: &Outgoing) -> Option<Position> {
        let sender = Sender {
            instance: &self.0.instance,
            // Only messages with an id: the case about delivery sends these.
            deaf: self.has(Fault::EchoesNothing) && outgoing.id.is_some(),
        };
        self.0.broker.publish(&self.0.space, outgoing, Some(sender))
    }

    /// Publishes one message, or answers why not.
    fn publish(&self, outgoing: &Outgoing) -> Result<Receipt> {
        self.open()?;
        // Both limits are declared; a fault lets one of them through.
        let large = outgoing.data.len() > MAX_PAYLOAD && !self.has(Fault::TakesTooLarge);
        let long = outgoing.channel.len() > MAX_CHANNEL && !self.has(Fault::TakesTooLong);
        if large || long {
            return Err(error(ErrorKind::Rejected));
        }
        // The sound way: stored, and the position is known.
        if let Some(position) = self.send(outgoing) {
            return Ok(Receipt::Stored(position));
        }
        if self.has(Fault::AcknowledgesWithoutBroker) {
            return Ok(Receipt::Accepted);
        }
        if self.has(Fault::StoresWhatItRefuses) {
            let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(outgoing.clone());
        }
        Err(error(ErrorKind::Unavailable))
    }

    /// Acknowledges at once, and hands over later, if this instance is still there.
    fn publish_later(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let answers = batch.iter().map(|_| Ok(Receipt::Accepted)).collect();
        let this = self.clone();
        tokio::spawn(async move {
            // Long enough that `close` comes in between.
            sleep(Duration::from_millis(20)).await;
            for outgoing in batch {
                drop(this.publish(&outgoing));
            }
        });
        answers
    }
}

#[async_trait]
impl Backplane for Handle {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        if self.has(Fault::AcknowledgesBeforeStoring) && batch.len() == EARLY && self.open().is_ok()
        {
            return self.publish_later(batch);
        }
        // Item by item, as the contract asks.
        let answers: Vec<_> = batch.iter().map(|item| self.publish(item)).collect();
        // A publish on a real broker lets other tasks run.
        tokio::task::yield_now().await;
        let rejected = answers.iter().flat_map(|answer| answer.as_ref().err());
        let any_rejected = rejected
            .into_iter()
            .any(|error| error.kind() == ErrorKind::Rejected);
        if self.has(Fault::FailsTheWholeBatch) && any_rejected {
            let rejected = |_| Err(error(ErrorKind::Rejected));
            return answers.iter().map(rejected).collect();
        }
        answers
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.open()?;
        // Before the broker is asked, as in a real backend.
        if channels.iter().any(|channel| channel.len() > MAX_CHANNEL) {
            return Err(error(ErrorKind::Rejected));
        }
        let up = self.0.instance.is_up();
        // Interest that is asked for while the broker is away must be kept, unless that is the
        // fault.
        if up || !self.has(Fault::ForgetsInterestWhileDown) {
            self.0.instance.subscribe(channels);
        }
        if up {
            Ok(())
        } else {
            Err(error(ErrorKind::Unavailable))
        }
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<()> {
        self.open()?;
        // A few are removed as they should be, so that only the case about many sees it.
        if !(self.has(Fault::ForgetsRemovedInterest) && channels.len() > 10) {
            self.0.instance.unsubscribe(channels);
        }
        Ok(())
    }

    fn lane(&self, _: &str) -> Option<u32> {
        // One lane for all, so that every channel shares it.
        Some(0)
    }

    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        (!self.has(Fault::PromisesHistory)).then_some(self)
    }

    async fn close(&self) {
        if self.has(Fault::HangsInTheSecondClose) && self.0.instance.is_closed() {
            // Never returns; the case must find that within its limit.
            return pending().await;
        }
        if !self.has(Fault::IgnoresClose) {
            self.0.instance.closed.store(true, Ordering::SeqCst);
        }
        // Waits for the hub to read: forbidden, as the hub may be the one who waits.
        while self.has(Fault::ClosesOnceReadOnly) && !self.0.instance.has_room() {
            sleep(Duration::from_millis(5)).await;
        }
        self.0.broker.leave(&self.0.space, &self.0.instance);
        self.0.instance.end_events();
    }
}

#[async_trait]
impl History for Handle {
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        self.look(Some(channel), after, limit)
    }

    async fn scan(&self, _: u32, from: Start, limit: usize) -> Result<Page> {
        let after = match from {
            // Recent ones: everything, since the log is short.
            Start::After(position) => Some(position),
            Start::Recent { .. } => None,
        };
        self.look(None, after, limit)
    }
}

impl Handle {
    /// Reads the log after a position, one channel or all.
    fn look(
        &self,
        channel: Option<&Channel>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        self.open()?;
        let (trimmed, log) = self.0.broker.log(&self.0.space);
        // What was trimmed can't be read, and without `after` the reading begins behind it.
        let after = match after {
            None => trimmed,
            Some(after) => {
                let offset = after.offset as usize;
                let gone = offset < trimmed && !self.has(Fault::HidesTheTrim);
                // Another epoch, ahead of the end, or trimmed away: three ways to be lost.
                if after.epoch != EPOCH || offset > log.len() || gone {
                    return Err(error(ErrorKind::PositionLost));
                }
                offset
            }
        };
        let from = match self.has(Fault::ReadsInclusively) {
            true => after.saturating_sub(1),
            false => after,
        };
        let mut rest = log[from..]
            .iter()
            .filter(|it| channel.is_none_or(|channel| it.channel == *channel));
        let publications: Vec<_> = rest.by_ref().take(limit).cloned().collect();
        // One more than the page shows whether there is more.
        let more = rest.next().is_some();
        let last = publications.last().and_then(|last| last.position);
        let end = Some(position(log.len()));
        Ok(Page {
            publications,
            // The next page begins there; the last one ends at the end of the log.
            upto: if more { last } else { end },
            more,
        })
    }
}
