//! A model of origins, a broker that loses, repeats and rolls back, and receivers: every order of events up to a size
//! is tried, with the numbers' real code. It shows that nothing is lost in silence, nothing comes twice and nothing is
//! reordered; and that two simpler mechanisms do lose in silence, which must stay so, or the model proves nothing.

use std::time::{Duration, Instant};

use hubplane_backplane::Origin;
use stateright::{Model, Property};

use super::{
    gap_detector::{GapDetector, Verdict, Word},
    sequencer::{Sequence, Sequencer},
};

const ORIGINS: usize = 2;
const RUN: Sequence = Sequence::Lane(0);

/// What the receivers go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    /// As built.
    NumbersAndBeacons,
    /// Without the beacon that follows the last message.
    NumbersAlone,
    /// The broker's offsets: what is after the last one is new.
    OffsetsAlone,
}

/// How much may happen.
#[derive(Clone, Debug)]
struct Faults {
    mechanism: Mechanism,
    receivers: usize,
    messages: u64,
    beacons: u64,
    drops: u8,
    repeats: u8,
    rollbacks: u8,
    given_up: u8,
    restarts: u8,
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    origin: u128,
    number: u64,
    /// A beacon stands for all numbers from here on.
    beacon: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Sender {
    /// Grows with each restart.
    life: u128,
    /// Sequencer given out, and from which on none stands at the broker.
    last: u64,
    open: Option<u64>,
    messages: u64,
    beacons: u64,
    /// The last record was a beacon.
    quiet: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Receiver {
    cursor: usize,
    heard: Vec<Record>,
    delivered: Vec<(u128, u64)>,
    announced: Vec<(u128, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    log: Vec<Record>,
    accepted: Vec<(u128, u64)>,
    senders: [Sender; ORIGINS],
    receivers: Vec<Receiver>,
    drops: u8,
    repeats: u8,
    rollbacks: u8,
    given_up: u8,
    restarts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// Accepted by the broker.
    Publish(usize),
    /// Never stored, and answered so.
    GiveUp(usize),
    Beacon(usize),
    /// The broker has not taken it: what it stood for stays open.
    LoseBeacon(usize),
    /// A new process in its place.
    Restart(usize),
    Receive(usize),
    /// The broker passes over one record for one receiver.
    Drop(usize),
    /// The broker delivers the last record again.
    Repeat(usize),
    /// The broker forgets its newest record, acknowledged or not.
    RollBack,
}

fn id(sender: usize, life: u128) -> u128 {
    sender as u128 + 10 * life
}

impl Sender {
    /// The next number, by the real code.
    fn number(&mut self, sender: usize) -> (u64, u64) {
        let mut numbers = Sequencer::new(id(sender, self.life), 10);
        let now = Instant::now();
        for _ in 0..self.last {
            numbers.next(&RUN, now);
        }
        if let Some(open) = self.open {
            numbers.give_up(&RUN, open);
        }
        let number = numbers.next(&RUN, now).number;
        self.last = number;
        (number, numbers.open(&RUN).unwrap_or(number))
    }
}

impl Receiver {
    /// What the real gap detector says of a record after all that was heard before.
    fn verdict(&self, record: Record) -> Verdict {
        let start = Instant::now();
        let later = start + Duration::from_secs(1_000);
        let mut gap_detector = GapDetector::default();
        let other = Origin {
            id: u128::MAX,
            number: 1,
        };
        gap_detector.check(&RUN, other, None, start);
        let mut check = |record: Record| {
            let origin = Origin {
                id: record.origin,
                number: record.number,
            };
            let up = Duration::from_secs(1);
            let connected = None;
            let word = record.beacon.map(|from| Word {
                from,
                up,
                connected,
            });
            gap_detector.check(&RUN, origin, word, later)
        };
        for heard in &self.heard {
            check(*heard);
        }
        check(record)
    }

    fn receive(&mut self, record: Record, mechanism: Mechanism) {
        let verdict = match mechanism {
            Mechanism::OffsetsAlone => Verdict::Next,
            _ => self.verdict(record),
        };
        self.heard.push(record);
        match verdict {
            Verdict::Repeated => return,
            Verdict::Missing { from, to } => {
                let numbers = (from..=to).map(|number| (record.origin, number));
                self.announced.extend(numbers);
            }
            Verdict::Next => {}
        }
        if record.beacon.is_none() {
            self.delivered.push((record.origin, record.number));
        }
    }
}

impl State {
    /// A message, and before it a beacon where numbers are open.
    fn publish(&mut self, index: usize) {
        let sender = &mut self.senders[index];
        let origin = id(index, sender.life);
        if sender.open.is_some() {
            // A beacon goes before it.
            let (number, from) = sender.number(index);
            sender.open = None;
            self.log.push(Record {
                origin,
                number,
                beacon: Some(from),
            });
        }
        let (number, _) = sender.number(index);
        sender.messages += 1;
        sender.quiet = false;
        self.accepted.push((origin, number));
        self.log.push(Record {
            origin,
            number,
            beacon: None,
        });
    }
}

impl Model for Faults {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            receivers: vec![Receiver::default(); self.receivers],
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, sender) in state.senders.iter().enumerate() {
            if sender.messages < self.messages {
                actions.push(Action::Publish(index));
                if state.given_up < self.given_up {
                    actions.push(Action::GiveUp(index));
                }
            }
            if self.mechanism == Mechanism::NumbersAndBeacons && sender.beacons < self.beacons {
                actions.push(Action::Beacon(index));
                if state.given_up < self.given_up {
                    actions.push(Action::LoseBeacon(index));
                }
            }
            if state.restarts < self.restarts && sender.quiet {
                actions.push(Action::Restart(index));
            }
        }
        for (index, receiver) in state.receivers.iter().enumerate() {
            if receiver.cursor < state.log.len() {
                actions.push(Action::Receive(index));
                if state.drops < self.drops {
                    actions.push(Action::Drop(index));
                }
            }
            if state.repeats < self.repeats && !receiver.heard.is_empty() {
                actions.push(Action::Repeat(index));
            }
        }
        if state.rollbacks < self.rollbacks && !state.log.is_empty() {
            actions.push(Action::RollBack);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Publish(index) => state.publish(index),
            Action::GiveUp(index) => {
                let sender = &mut state.senders[index];
                let (number, _) = sender.number(index);
                sender.open = Some(sender.open.unwrap_or(number));
                sender.messages += 1;
                sender.quiet = false;
                state.given_up += 1;
            }
            Action::Beacon(index) => {
                let sender = &mut state.senders[index];
                let origin = id(index, sender.life);
                let (number, from) = sender.number(index);
                sender.open = None;
                sender.beacons += 1;
                sender.quiet = true;
                state.log.push(Record {
                    origin,
                    number,
                    beacon: Some(from),
                });
            }
            Action::LoseBeacon(index) => {
                let sender = &mut state.senders[index];
                let (_, from) = sender.number(index);
                sender.open = Some(from);
                sender.quiet = false;
                state.given_up += 1;
            }
            Action::Restart(index) => {
                let sender = &mut state.senders[index];
                sender.life += 1;
                sender.last = 0;
                sender.open = None;
                state.restarts += 1;
            }
            Action::Receive(index) => {
                let receiver = &mut state.receivers[index];
                let record = state.log[receiver.cursor];
                receiver.cursor += 1;
                receiver.receive(record, self.mechanism);
            }
            Action::Drop(index) => {
                state.receivers[index].cursor += 1;
                state.drops += 1;
            }
            Action::Repeat(index) => {
                let receiver = &mut state.receivers[index];
                let record = *receiver.heard.last()?;
                receiver.receive(record, self.mechanism);
                state.repeats += 1;
            }
            Action::RollBack => {
                state.log.pop();
                state.rollbacks += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "nothing is lost in silence",
                |model: &Self, state: &State| {
                    state
                        .receivers
                        .iter()
                        .all(|receiver| model.all_told(state, receiver))
                },
            ),
            Property::always("nothing comes twice", |_, state: &State| {
                state.receivers.iter().all(|receiver| {
                    let delivered = &receiver.delivered;
                    (1..delivered.len()).all(|n| !delivered[..n].contains(&delivered[n]))
                })
            }),
            Property::always("each origin's order is kept", |_, state: &State| {
                state.receivers.iter().all(|receiver| {
                    let delivered = &receiver.delivered;
                    let later = |n: usize| {
                        let (origin, number) = delivered[n];
                        delivered[..n]
                            .iter()
                            .all(|(of, earlier)| *of != origin || *earlier < number)
                    };
                    (0..delivered.len()).all(later)
                })
            }),
            Property::sometimes("a loss is announced", |_, state: &State| {
                state
                    .receivers
                    .iter()
                    .any(|receiver| !receiver.announced.is_empty())
            }),
        ]
    }
}

impl Faults {
    /// Whether a receiver got or was told of everything that it can be expected to know of: what was accepted before the
    /// last beacon that it heard of the same origin, and where nothing more can come, all.
    fn all_told(&self, state: &State, receiver: &Receiver) -> bool {
        state.accepted.iter().all(|&(origin, number)| {
            let known = |list: &[(u128, u64)]| list.contains(&(origin, number));
            if known(&receiver.delivered) || known(&receiver.announced) {
                return true;
            }
            let heard_later = receiver.heard.iter().any(|heard| {
                heard.origin == origin && heard.number > number && heard.beacon.is_some()
            });
            let over = self.mechanism != Mechanism::NumbersAndBeacons
                && receiver.cursor >= state.log.len();
            !heard_later && !over
        })
    }
}

mod checks;
