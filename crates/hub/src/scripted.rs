//! A log of several lanes in memory that tests can treat as badly as a broker does: other programs write into any lane,
//! it is rolled back while no hub runs, it gets more lanes, and one lane hangs.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, Error, ErrorKind, Event, EventSender, GapCause, History, Opened, Outgoing,
    Page, Position, Publication, Receipt, Result, Scope, Start, events,
};
use tokio::{sync::watch, time::sleep};

use crate::{Hub, Mailbox, Setup, limits::Limits};

/// The broker: what outlives hubs.
#[derive(Debug)]
pub(crate) struct Broker {
    state: Mutex<State>,
    /// The lane that takes nothing.
    hung: watch::Sender<Option<u32>>,
}

/// The channel of a place whose message is gone.
const REMOVED: &str = "$removed";

#[derive(Debug)]
struct State {
    epoch: u64,
    lanes: Vec<Vec<Publication>>,
    readers: Vec<EventSender>,
}

/// One hub's connection.
#[derive(Debug)]
struct Connection(Arc<Broker>);

impl Broker {
    pub(crate) fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                epoch: 1,
                lanes: vec![Vec::new(); lanes],
                readers: Vec::new(),
            }),
            hung: watch::Sender::new(None),
        })
    }

    /// A hub on it, which hears itself.
    pub(crate) async fn hub(self: &Arc<Self>, limits: Limits) -> (Arc<Hub>, Vec<Mailbox>) {
        let setup = Setup {
            node: "test".to_owned(),
            driver: &hubplane_memory::DRIVER,
            limits,
            shards: 1,
        };
        let (sender, events) = events(1_000);
        for position in self.ends() {
            sender.send(Event::Progress(position)).await.unwrap();
        }
        self.state().readers.push(sender);
        let backplane = Arc::new(Connection(Arc::clone(self)));
        let (hub, mailboxes) = Hub::start(Opened { backplane, events }, setup).unwrap();
        assert!(
            hub.heard(Duration::from_secs(10)).await,
            "{:?}",
            hub.health()
        );
        (hub, mailboxes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> Vec<Position> {
        let state = self.state();
        let end = |(lane, of): (usize, &Vec<_>)| state.position(lane as u32, of.len());
        state.lanes.iter().enumerate().map(end).collect()
    }

    /// The lane of a name: its bytes' sum, so that a test can choose.
    pub(crate) fn lane_of(&self, channel: &str) -> u32 {
        let sum: usize = channel.bytes().map(usize::from).sum();
        (sum % self.state().lanes.len()) as u32
    }

    /// Another program writes into a lane of its choice.
    pub(crate) async fn write(&self, lane: u32, channel: &str, data: &'static str) -> Position {
        self.append(lane, Outgoing::new(channel, data)).await
    }

    async fn append(&self, lane: u32, outgoing: Outgoing) -> Position {
        let (publication, readers) = {
            let mut state = self.state();
            let next = state.lanes[lane as usize].len() + 1;
            let position = state.position(lane, next);
            let publication = Publication {
                channel: outgoing.channel,
                data: outgoing.data,
                position: Some(position),
                id: outgoing.id,
                origin: outgoing.origin,
                tags: outgoing.tags,
            };
            state.lanes[lane as usize].push(publication.clone());
            (publication, state.readers.clone())
        };
        let position = publication.position.unwrap();
        for reader in readers {
            // A hub that was closed reads no more.
            _ = reader
                .send(Event::Published(vec![publication.clone()]))
                .await;
        }
        position
    }

    /// All hubs are gone; the log is an older copy of itself.
    pub(crate) fn roll_back(&self, lane: u32, to: u128) {
        let mut state = self.state();
        state.readers.clear();
        state.lanes[lane as usize].truncate(to as usize);
    }

    /// Of this channel only the last message is left, as in a topic that is compacted.
    pub(crate) fn compact(&self, lane: u32, channel: &str) {
        let mut state = self.state();
        let of = &mut state.lanes[lane as usize];
        let last = of.iter().rposition(|it| &*it.channel == channel);
        for (at, publication) in of.iter_mut().enumerate() {
            if &*publication.channel == channel && Some(at) != last {
                publication.channel = REMOVED.into();
            }
        }
    }

    /// The log has more lanes from here on, and its epoch says so.
    pub(crate) async fn grow(&self, lanes: usize) {
        let readers = {
            let mut state = self.state();
            state.epoch += 1;
            let epoch = state.epoch;
            state.lanes.resize(lanes, Vec::new());
            for position in state
                .lanes
                .iter_mut()
                .flatten()
                .flat_map(|it| &mut it.position)
            {
                position.epoch = epoch;
            }
            state.readers.clone()
        };
        let cause = GapCause::LogReplaced;
        for reader in readers {
            let gap = Event::Gap {
                scope: Scope::All,
                cause,
            };
            reader.send(gap).await.unwrap();
            for position in self.ends() {
                reader.send(Event::Progress(position)).await.unwrap();
            }
        }
    }
}

impl Broker {
    /// A lane takes nothing from here on, or all do.
    pub(crate) fn hang(&self, lane: Option<u32>) {
        self.hung.send_replace(lane);
    }
}

impl State {
    fn position(&self, lane: u32, offset: usize) -> Position {
        Position {
            epoch: self.epoch,
            lane,
            offset: offset as u128,
        }
    }
}

#[async_trait]
impl Backplane for Connection {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let mut answers = Vec::new();
        for outgoing in batch {
            let mut hung = self.0.hung.subscribe();
            let lane = self.0.lane_of(&outgoing.channel);
            let goes_on = hung.wait_for(|hung| *hung != Some(lane));
            goes_on.await.expect("the broker holds its end");
            // There may be more of them by now.
            let lane = self.0.lane_of(&outgoing.channel);
            answers.push(Ok(Receipt::Stored(self.0.append(lane, outgoing).await)));
        }
        answers
    }

    async fn subscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    fn lane(&self, channel: &str) -> Option<u32> {
        Some(self.0.lane_of(channel))
    }

    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }

    async fn close(&self) {}
}

#[async_trait]
impl History for Connection {
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        let lane = self.0.lane_of(channel);
        self.page(lane, after, limit, |it| it.channel == *channel)
    }

    async fn scan(&self, lane: u32, from: Start, limit: usize) -> Result<Page> {
        let after = match from {
            Start::After(position) => Some(position),
            Start::Recent { .. } => None,
        };
        self.page(lane, after, limit, |_| true)
    }
}

impl Connection {
    fn page(
        &self,
        lane: u32,
        after: Option<Position>,
        limit: usize,
        wanted: impl Fn(&Publication) -> bool,
    ) -> Result<Page> {
        let state = self.0.state();
        let of = &state.lanes[lane as usize];
        let from = after.map_or(0, |after| after.offset as usize);
        let foreign = after.is_some_and(|after| after.epoch != state.epoch || after.lane != lane);
        if foreign || from > of.len() {
            return Err(Error::new(ErrorKind::PositionLost, "test", "no such place"));
        }
        let is_there = |it: &&Publication| &*it.channel != REMOVED && wanted(it);
        let publications: Vec<_> = of[from..].iter().filter(is_there).cloned().collect();
        let more = publications.len() > limit;
        let publications: Vec<_> = publications.into_iter().take(limit).collect();
        let last = publications.last().and_then(|last| last.position);
        let upto = match more {
            true => last,
            false => Some(state.position(lane, of.len())),
        };
        Ok(Page {
            publications,
            upto,
            more,
        })
    }
}

/// Waits until the hub's window has seen so many messages in a lane.
pub(crate) async fn shown(hub: &Hub, lane: u32, offset: u128) {
    for _ in 0..1_000 {
        let head = hub.log().window().head(lane);
        if head.is_some_and(|head| head.offset >= offset) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("lane {lane} never came to {offset}");
}

mod tests;
