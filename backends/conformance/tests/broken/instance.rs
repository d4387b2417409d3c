//! One instance, with its fault.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, ErrorKind, Event, EventSender, GapCause, History, Opened, Outgoing, Page,
    Position, Publication, Receipt, Result, Scope, events,
};

use super::{
    Fault, MAX_CHANNEL, MAX_PAYLOAD,
    broker::{Broker, EPOCH, position},
    error,
};

pub(crate) struct Instance {
    broker: Arc<Broker>,
    space: String,
    fault: Option<Fault>,
    events: Mutex<Option<EventSender>>,
    interest: Mutex<HashSet<Channel>>,
    held: Mutex<Option<Publication>>,
    heard: AtomicUsize,
    up: AtomicBool,
    late_gap: AtomicBool,
    closed: AtomicBool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance")
    }
}

/// What the hub holds.
#[derive(Debug)]
struct Handle(Arc<Instance>);

pub(crate) fn open(broker: &Arc<Broker>, space: &str, fault: Option<Fault>) -> Opened {
    let (sender, events) = events(100_000);
    sender
        .try_send(Event::Progress(position(broker.log(space).1.len())))
        .expect("room");
    let instance = Arc::new(Instance {
        broker: Arc::clone(broker),
        space: space.to_owned(),
        fault,
        events: Mutex::new(Some(sender)),
        interest: Mutex::default(),
        held: Mutex::default(),
        heard: AtomicUsize::new(0),
        up: AtomicBool::new(true),
        late_gap: AtomicBool::new(false),
        closed: AtomicBool::new(false),
    });
    broker.join(space, &instance);
    Opened {
        backplane: Arc::new(Handle(instance)),
        events,
    }
}

impl Instance {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn tell(&self, event: Event) {
        if let Some(events) = &*self.events.lock().unwrap_or_else(PoisonError::into_inner) {
            // A full queue is of no matter here: nothing reads it any more.
            _ = events.try_send(event);
        }
    }

    fn wants(&self, channel: &str) -> bool {
        let interest = self.interest.lock().unwrap_or_else(PoisonError::into_inner);
        let pattern = |known: &Channel| {
            known
                .strip_suffix('*')
                .is_some_and(|start| channel.starts_with(start))
        };
        interest.contains(channel) || self.has(Fault::ReadsPatterns) && interest.iter().any(pattern)
    }

    pub(crate) fn hear(&self, mut publication: Publication) {
        if !self.up.load(Ordering::SeqCst) || !self.wants(&publication.channel) {
            return;
        }
        let count = self.heard.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Some(Fault::Drops) if count == 30 => return,
            Some(Fault::Repeats) if count == 30 => {
                self.tell(Event::Published(vec![publication.clone()]))
            }
            Some(Fault::LosesMetadata) => publication.id = None,
            Some(Fault::HasNoPositions) => publication.position = None,
            Some(Fault::AltersPayloads) if publication.data.is_empty() => {
                publication.data = "null".into()
            }
            Some(Fault::Reorders) => {
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                if count == 30 {
                    *held = Some(publication);
                    return;
                }
                if let Some(earlier) = held.take() {
                    return self.tell(Event::Published(vec![publication, earlier]));
                }
            }
            _ => {}
        }
        self.tell(Event::Published(vec![publication]));
        if self.late_gap.swap(false, Ordering::SeqCst) {
            self.tell(Event::Gap {
                scope: Scope::All,
                cause: GapCause::ConnectionLost,
            });
        }
    }

    pub(crate) fn down(&self) {
        self.up.store(false, Ordering::SeqCst);
        self.tell(Event::Down("stopped".to_owned()));
    }

    /// Comes back some time after the broker: what others publish meanwhile is lost, and must be announced.
    pub(crate) fn up(self: Arc<Self>) {
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(if self.is_slow() {
                600
            } else {
                20
            }))
            .await;
            match self.fault {
                Some(Fault::HidesTheGap) => {}
                Some(Fault::AnnouncesLate) => self.late_gap.store(true, Ordering::SeqCst),
                _ => self.tell(Event::Gap {
                    scope: Scope::All,
                    cause: GapCause::ConnectionLost,
                }),
            }
            if self.has(Fault::ForgetsInterestOnReconnect) {
                self.interest
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clear();
            }
            self.up.store(true, Ordering::SeqCst);
            self.tell(Event::Up);
        });
    }

    /// Instances do not come back all at once.
    fn is_slow(&self) -> bool {
        (std::ptr::from_ref(self).addr() / 16).is_multiple_of(2)
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            Err(error(ErrorKind::Closed))
        } else {
            Ok(())
        }
    }

    fn publish(&self, outgoing: &Outgoing) -> Result<Receipt> {
        self.open()?;
        let large = outgoing.data.len() > MAX_PAYLOAD && !self.has(Fault::TakesTooLarge);
        if large || outgoing.channel.len() > MAX_CHANNEL {
            return Err(error(ErrorKind::Rejected));
        }
        let number = self.heard.load(Ordering::SeqCst);
        if self.has(Fault::AcknowledgesBeforeStoring) && number % 100 == 99 {
            self.heard.fetch_add(1, Ordering::SeqCst);
            return Ok(Receipt::Accepted);
        }
        let silent = self.has(Fault::EchoesNothing).then_some(self);
        match self.broker.publish(&self.space, outgoing, silent) {
            Some(position) => Ok(Receipt::Stored(position)),
            None if self.has(Fault::AcknowledgesWithoutBroker) => Ok(Receipt::Accepted),
            None => Err(error(ErrorKind::Unavailable)),
        }
    }
}

#[async_trait]
impl Backplane for Handle {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let answers: Vec<_> = batch
            .iter()
            .map(|outgoing| self.0.publish(outgoing))
            .collect();
        if self.0.has(Fault::FailsTheWholeBatch) && answers.iter().any(Result::is_err) {
            return answers
                .iter()
                .map(|_| Err(error(ErrorKind::Rejected)))
                .collect();
        }
        tokio::task::yield_now().await;
        answers
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.0.open()?;
        if channels.iter().any(|channel| channel.len() > MAX_CHANNEL) {
            return Err(error(ErrorKind::Rejected));
        }
        self.0
            .interest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(channels.iter().cloned());
        Ok(())
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<()> {
        self.0.open()?;
        if !self.0.has(Fault::ForgetsRemovedInterest) {
            let mut interest = self
                .0
                .interest
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            interest.retain(|known| !channels.contains(known));
        }
        Ok(())
    }

    fn lane(&self, _: &str) -> Option<u32> {
        Some(0)
    }

    fn history(&self) -> Option<&dyn History> {
        (!self.0.has(Fault::PromisesHistory)).then_some(self)
    }

    async fn close(&self) {
        if !self.0.has(Fault::IgnoresClose) {
            self.0.closed.store(true, Ordering::SeqCst);
            self.0.broker.leave(&self.0.space, &self.0);
            self.0
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        }
    }
}

#[async_trait]
impl History for Handle {
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        self.0.open()?;
        let (trimmed, log) = self.0.broker.log(&self.0.space);
        let after = match after {
            None => trimmed,
            Some(after) => {
                let offset = after.offset as usize;
                let gone = offset < trimmed && !self.0.has(Fault::HidesTheTrim);
                if after.epoch != EPOCH || offset > log.len() || gone {
                    return Err(error(ErrorKind::PositionLost));
                }
                offset
            }
        };
        let from = if self.0.has(Fault::ReadsInclusively) {
            after.saturating_sub(1)
        } else {
            after
        };
        let mut rest = log[from..]
            .iter()
            .filter(|publication| publication.channel == *channel)
            .cloned();
        let publications: Vec<_> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let last = publications
            .last()
            .and_then(|publication| publication.position);
        let upto = if more {
            last
        } else {
            Some(position(log.len()))
        };
        Ok(Page {
            publications,
            upto,
            more,
        })
    }
}
