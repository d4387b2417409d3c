//! The events of one instance, with their faults.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hubplane_backplane::{
    Channel, Event, EventSender, GapCause, Position, Publication, Scope, events,
};
use tokio::time::sleep;

use super::Fault;

/// Events that may wait. An event that finds no room is lost, and a gap says so before the next one.
const QUEUE: usize = 16_384;
/// The message in which a faulty instance does its fault. Most such faults keep to messages with an id, as the case
/// about delivery sends them, so that not every case sees them.
const UNLUCKY: usize = 30;
/// How much longer every second instance needs to come back, so that the two of a case see different holes.
const SLOW: Duration = Duration::from_millis(600);

/// What the broker tells one instance, and what it makes of it.
pub(crate) struct Instance {
    fault: Option<Fault>,
    /// Counts the instances of the space, from 1.
    number: usize,
    state: Mutex<State>,
    /// Apart from the state, so that it can be asked while events are told.
    pub(crate) closed: AtomicBool,
}

struct State {
    /// `None` once closed.
    events: Option<EventSender>,
    /// Wanted channels; how often is what only a fault asks for.
    interest: HashMap<Channel, usize>,
    /// Messages so far, by which the unlucky one is found.
    heard: usize,
    /// Whether the broker can be reached.
    up: bool,
    /// An event was lost, and no gap has said so yet.
    overflowed: bool,
    /// [`Fault::AnnouncesLate`]: the gap comes after the next message.
    late_gap: bool,
    /// Kept back by a fault of order, until another one has overtaken it.
    held: Option<Publication>,
    /// [`Fault::RepeatsOnReconnect`]: what is told again.
    last: Option<Publication>,
    /// The last end that was reported.
    progress: Position,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({}, {:?})", self.number, self.fault)
    }
}

/// After a lost connection, which concerns all channels.
const GAP: Event = Event::Gap {
    scope: Scope::All,
    cause: GapCause::ConnectionLost,
};

impl State {
    /// Queues an event; one that finds no room is lost, and a gap is owed.
    fn tell(&mut self, event: Event, hides_overflow: bool) {
        let Some(events) = &self.events else {
            return;
        };
        if self.overflowed && !hides_overflow && events.try_send(GAP).is_err() {
            return;
        }
        self.overflowed = events.try_send(event).is_err();
    }
}

impl Instance {
    /// Returns an instance at this end of the log, and its events.
    pub(crate) fn new(
        fault: Option<Fault>,
        number: usize,
        end: Position,
    ) -> (Self, hubplane_backplane::Events) {
        let (sender, events) = events(QUEUE);
        // The first event says where the lane is, as the contract asks.
        sender.try_send(Event::Progress(end)).expect("room");
        let state = State {
            events: Some(sender),
            interest: HashMap::new(),
            heard: 0,
            up: true,
            overflowed: false,
            late_gap: false,
            held: None,
            last: None,
            progress: end,
        };
        let instance = Self {
            fault,
            number,
            state: Mutex::new(state),
            closed: AtomicBool::new(false),
        };
        (instance, events)
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event, with the fault of hiding an overflow.
    fn tell(&self, state: &mut State, event: Event) {
        state.tell(event, self.has(Fault::HidesTheOverflow));
    }

    /// Queues one publication.
    fn published(&self, state: &mut State, publication: Publication) {
        self.tell(state, Event::Published(vec![publication]));
    }

    pub(crate) fn subscribe(&self, channels: &[Channel]) {
        let mut state = self.locked();
        for channel in channels {
            *state.interest.entry(Arc::clone(channel)).or_default() += 1;
        }
    }

    pub(crate) fn unsubscribe(&self, channels: &[Channel]) {
        // A sound instance takes interest as a set; a count is the fault.
        let counts = self.has(Fault::CountsInterest);
        let mut state = self.locked();
        for channel in channels {
            let Some(count) = state.interest.get_mut(channel) else {
                continue;
            };
            *count -= 1;
            if *count == 0 || !counts {
                state.interest.remove(channel);
            }
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.locked().up
    }

    /// Returns true unless the hub has stopped taking events.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.locked();
        let events = state.events.as_ref();
        // A `Progress` that nobody takes any more is not what blocks.
        events.is_none_or(|events| 2 * events.capacity() >= events.max_capacity())
    }

    /// Ends the hub's stream of events.
    pub(crate) fn end_events(&self) {
        self.locked().events = None;
    }

    /// Reports the end of the log if it has moved.
    pub(crate) fn progress(&self, end: Position) {
        let mut state = self.locked();
        if state.up && state.progress != end && !self.has(Fault::KeepsProgressToItself) {
            state.progress = end;
            self.tell(&mut state, Event::Progress(end));
        }
    }

    /// A message of the broker; `own` was published here.
    pub(crate) fn hear(self: &Arc<Self>, mut publication: Publication, own: bool) {
        let mut state = self.locked();
        if !state.up || !self.wants(&state, &publication.channel) {
            return;
        }
        state.heard += 1;
        let unlucky = state.heard == UNLUCKY && publication.id.is_some();
        match self.fault {
            Some(Fault::Drops) if unlucky => return,
            Some(Fault::CriesWolf) if unlucky => self.tell(&mut state, GAP),
            Some(Fault::Repeats) if unlucky => self.published(&mut state, publication.clone()),
            Some(Fault::LosesMetadata) => publication.id = None,
            Some(Fault::HasNoPositions) => publication.position = None,
            Some(Fault::AltersPayloads) if publication.data.is_empty() => {
                publication.data = "null".into()
            }
            Some(Fault::Reorders) if self.number == 2 && state.heard == UNLUCKY => {
                state.held = Some(publication);
                return;
            }
            Some(Fault::OrdersDifferently) if self.number == 2 => {
                return self.hear_others_later(&mut state, publication, own);
            }
            _ => {}
        }
        if self.has(Fault::RepeatsOnReconnect) {
            state.last = Some(publication.clone());
        }
        self.published(&mut state, publication);
        if let Some(earlier) = state.held.take() {
            self.published(&mut state, earlier);
        }
        if std::mem::take(&mut state.late_gap) {
            self.tell(&mut state, GAP);
        }
    }

    /// Returns true if the channel is subscribed to, or looks so to [`Fault::ReadsPatterns`].
    fn wants(&self, state: &State, channel: &str) -> bool {
        let pattern = |known: &Channel| {
            let start = known.strip_suffix('*');
            start.is_some_and(|start| channel.starts_with(start))
        };
        state.interest.contains_key(channel)
            || self.has(Fault::ReadsPatterns) && state.interest.keys().any(pattern)
    }

    /// Lets an own message overtake one of somebody else, which keeps each publisher's order.
    fn hear_others_later(self: &Arc<Self>, state: &mut State, publication: Publication, own: bool) {
        if own {
            return self.published(state, publication);
        }
        if let Some(earlier) = state.held.replace(publication) {
            return self.published(state, earlier);
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            sleep(Duration::from_millis(20)).await;
            let mut state = this.locked();
            if let Some(held) = state.held.take() {
                this.published(&mut state, held);
            }
        });
    }

    /// The broker has gone.
    pub(crate) fn down(&self) {
        let mut state = self.locked();
        state.up = false;
        self.tell(&mut state, Event::Down("stopped".to_owned()));
    }

    /// Comes back some time after the broker: what others publish meanwhile is lost, and must be announced.
    pub(crate) fn up(self: Arc<Self>) {
        tokio::spawn(async move {
            let slow = self.number.is_multiple_of(2);
            sleep(if slow { SLOW } else { SLOW / 30 }).await;
            let mut state = self.locked();
            match self.fault {
                Some(Fault::HidesTheGap) => {}
                Some(Fault::AnnouncesLate) => state.late_gap = true,
                _ => self.tell(&mut state, GAP),
            }
            if self.has(Fault::ForgetsInterestOnReconnect) {
                state.interest.clear();
            }
            state.up = true;
            self.tell(&mut state, Event::Up);
            if let Some(last) = state.last.take() {
                self.published(&mut state, last);
            }
        });
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
