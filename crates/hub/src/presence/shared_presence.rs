//! Presence as the hub's tasks and shards use it. One lock is taken when somebody comes, goes or
//! asks, and several times a second for all that has gathered meanwhile; a delivery never takes it.
//!
//! The two tasks here are the only ones that move the state machine: [`attend`] passes changes and
//! answers to the shards, [`speak`] tells the other instances.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hubplane_backplane::{Channel, Outgoing};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{CHANNEL, Change, Member, Presence, Refusal};
use crate::{Health, Hub, command::Ref, frame::Frames, key::Key, limits::Limits, shard::Mail};

/// How often what has gathered is passed on, to the sessions here and to the other instances.
const TICK: Duration = Duration::from_millis(100);
/// About how many bytes are published at once, so that clients' messages get in between while a
/// long table is sent.
const SPEECH: usize = 256 * 1024;
/// How long the goodbye to the other instances may take.
const LEAVE: Duration = Duration::from_secs(1);

/// Who is on a channel, as far as one answer names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// How many there are.
    pub count: usize,
    /// Up to as many as were asked for, in no order.
    pub members: Vec<Member>,
}

/// Who is on a channel, for all who asked at the same time: listed once, and encoded once for each
/// format.
#[derive(Debug)]
pub(crate) struct SharedRoster {
    pub(crate) roster: Roster,
    pub(crate) frames: Frames,
}

/// A session's question who is on a channel.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) shard: usize,
    pub(crate) key: Key,
    pub(crate) reference: Option<Ref>,
    pub(crate) channel: Channel,
}

/// The answer to a question. It reaches the shard in the same queue as changes, so it has its place
/// among them.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) question: Question,
    pub(crate) roster: Arc<SharedRoster>,
}

/// This instance's presence, with its limits on questions.
#[derive(Debug)]
pub(crate) struct SharedPresence {
    /// The state machine, and the questions since the last turn.
    state: Mutex<State>,
    most_questions: usize,
    /// The most members that one answer names.
    page: usize,
}

#[derive(Debug)]
struct State {
    presence: Presence,
    questions: Vec<Question>,
}

impl SharedPresence {
    /// Empty; `id` names this process among all.
    pub(crate) fn new(id: u128, limits: &Limits) -> Self {
        let state = State {
            presence: Presence::new(id, limits),
            questions: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            most_questions: limits.presence_questions,
            page: limits.presence_page,
        }
    }

    /// Notes that a session becomes a member. Each success needs one [`SharedPresence::leave`].
    pub(crate) fn join(&self, channel: &Channel, member: Member) -> Result<(), Refusal> {
        self.lock().presence.join(channel, member)
    }

    /// Notes that a session is no longer a member.
    pub(crate) fn leave(&self, channel: &Channel, client: &str) {
        self.lock().presence.leave(channel, client, Instant::now());
    }

    /// Takes a message of another instance. One of this instance's own that has come back is
    /// ignored.
    pub(crate) fn receive(&self, data: &[u8]) {
        self.lock().presence.receive(data, Instant::now());
    }

    /// Takes a question, whose answer comes as [`Mail::Members`]. Returns false if too many wait
    /// already.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut state = self.lock();
        let room = state.questions.len() < self.most_questions;
        if room {
            state.questions.push(question);
        }
        room
    }

    /// Returns who is on a channel, with at most `limit` of them by name.
    fn roster(&self, channel: &str, limit: usize) -> Roster {
        self.lock().roster(channel, limit)
    }

    /// Returns what is to be told to this instance's clients: the changes, and answers as of after
    /// them.
    fn turn(&self, hears: bool) -> (Vec<Change>, Vec<Answer>) {
        let mut state = self.lock();
        // Changes first, and under the same lock: the answers are as of after them.
        let changes = state.presence.tick(Instant::now(), hears);
        // Each channel is listed once, however many ask for it.
        let mut rosters = HashMap::new();
        let questions = std::mem::take(&mut state.questions);
        let answers = questions.into_iter().map(|question| {
            let known = rosters.entry(Channel::clone(&question.channel));
            let fresh = || {
                Arc::new(SharedRoster {
                    roster: state.roster(&question.channel, self.page),
                    frames: Frames::default(),
                })
            };
            let roster = Arc::clone(known.or_insert_with(fresh));
            Answer { question, roster }
        });
        let answers = answers.collect();
        (changes, answers)
    }

    /// Locks the state, never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn roster(&self, channel: &str, limit: usize) -> Roster {
        Roster {
            count: self.presence.count(channel),
            members: self.presence.members(channel, limit),
        }
    }
}

/// Passes on to the shards what has gathered, for as long as the hub lives. Changes go first, since
/// the answers hold them already.
pub(crate) async fn attend(hub: Arc<Hub>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A deaf instance hears nobody, so it must not bury the others.
        let (changes, answers) = hub.presence().turn(hub.hears());
        if !changes.is_empty() {
            let changes = Arc::new(changes);
            hub.post(|| Mail::Presence(Arc::clone(&changes))).await;
        }
        let mut mails: Vec<Vec<Answer>> = Vec::new();
        mails.resize_with(hub.shards().len(), Vec::new);
        for answer in answers {
            mails[answer.question.shard].push(answer);
        }
        for (shard, answers) in hub.shards().iter().zip(mails) {
            if !answers.is_empty() {
                // A shard that is gone has no sessions.
                _ = shard.send(Mail::Members(answers)).await;
            }
        }
    }
}

/// Tells the other instances, for as long as the hub lives. What gathers while the broker is away
/// or slow is told together afterwards.
pub(crate) async fn speak(hub: Arc<Hub>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What is said now would be lost; it gathers, and is told as one.
        if !hub.hears() {
            continue;
        }
        let mut words = hub.presence().lock().presence.speak(Instant::now());
        // A portion that is not published ends the turn: what follows it would show a hole to the
        // others.
        loop {
            let portion = portion(&mut words);
            if portion.is_empty() || !hub.say(portion).await {
                break;
            }
        }
    }
}

/// Takes messages of about [`SPEECH`] bytes together, at least one if there is any.
fn portion(words: &mut impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let (mut portion, mut bytes) = (Vec::new(), 0);
    while bytes < SPEECH
        && let Some(word) = words.next()
    {
        bytes += word.len();
        portion.push(word);
    }
    portion
}

impl Hub {
    /// Returns who is on a channel, with at most `limit` of them by name.
    pub fn members(&self, channel: &str, limit: usize) -> Roster {
        self.presence().roster(channel, limit)
    }

    /// Counts the members of all channels, messages that could not be understood, and members ignored because of a limit.
    pub fn presence_counts(&self) -> (usize, u64, u64) {
        let state = self.presence().lock();
        let (bad, dropped) = state.presence.skipped();
        (state.presence.size(), bad, dropped)
    }

    /// Says goodbye to the other instances, so that this one's members leave after the grace time
    /// alone.
    pub(crate) async fn take_leave(&self) {
        let word = self.presence().lock().presence.bye();
        if let Some(word) = word.filter(|_| self.hears()) {
            // If it is lost, they notice the silence.
            _ = timeout(LEAVE, self.say(vec![word])).await;
        }
    }

    /// Returns true if this instance hears its broker, also while it stops.
    pub(crate) fn hears(&self) -> bool {
        self.health_state().health() == Health::Up
    }

    /// Publishes messages. Returns false if one of them was not published. What follows it would be
    /// of no use then, since the others must ask for the whole.
    async fn say(&self, words: Vec<Bytes>) -> bool {
        let words = words.into_iter().map(|word| Outgoing::new(CHANNEL, word));
        let answers = self.publish(words.collect()).await;
        answers.is_ok_and(|answers| answers.iter().all(Result::is_ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_once_is_bounded_and_comes_to_an_end() {
        let sizes = [SPEECH + 1, SPEECH / 2, SPEECH / 2, 1];
        let mut words = sizes
            .into_iter()
            .map(|bytes| Bytes::from(vec![b'x'; bytes]));
        let counts = [0; 4].map(|_| portion(&mut words).len());
        assert_eq!(counts, [1, 2, 1, 0]);
    }

    #[test]
    fn questions_are_bounded_and_answered_with_what_was_told_before() {
        let limits = Limits {
            presence_questions: 2,
            presence_page: 1,
            ..Limits::default()
        };
        let desk = SharedPresence::new(1, &limits);
        let channel = Channel::from("c");
        let ask = || {
            desk.ask(Question {
                shard: 0,
                key: Key {
                    index: 0,
                    serial: 0,
                },
                reference: None,
                channel: Channel::clone(&channel),
            })
        };
        assert!(ask() && ask() && !ask());
        for client in ["a", "b"] {
            let member = Member {
                client: client.into(),
                user: None,
                info: None,
                verified: false,
            };
            desk.join(&channel, member).unwrap();
        }
        let (changes, answers) = desk.turn(true);
        assert_eq!((changes.len(), answers.len()), (2, 2));
        let shared = &answers[0].roster;
        let Roster { count, members } = &shared.roster;
        assert_eq!((*count, members.len()), (2, 1));
        assert!(Arc::ptr_eq(shared, &answers[1].roster), "listed once");
        assert!(ask());
    }
}
