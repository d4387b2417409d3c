//! Which connections a user has, on all instances.
//!
//! The instance that is asked publishes the question on a channel of its own; every instance, itself too,
//! asks its shards and publishes its answer there. How many instances there are is known nowhere,
//! so the answers that come within half a second are all of it. What comes from the broker is untrusted
//! and bounded. Who may ask is not known here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use hubplane_backplane::{Error, ErrorKind, Outgoing, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{Hub, disconnect::MOST_TEXT, shard::Mail};

/// Where questions and answers are published.
pub(super) const CHANNEL: &str = "$hubplane/connections";
/// How long answers are waited for.
const WAIT: Duration = Duration::from_millis(500);
/// How long the shards of this instance may take to look.
const LOOK: Duration = Duration::from_millis(200);
/// The most connections that one instance names, and that one answer has.
pub const MOST_CONNECTIONS: usize = 1_000;
/// The most questions of others that wait here; more are not answered.
const MOST_QUESTIONS: usize = 256;

/// One session of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The session's name, which [`Whose::Client`](crate::disconnect::Whose::Client) takes.
    pub client: String,
    /// The instance's name.
    pub node: String,
    /// How many channels it is subscribed to.
    pub subscriptions: usize,
}

/// What travels: a question, or an answer to one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Word {
    Ask {
        user: Arc<str>,
        /// The question's number, unique among all.
        question: String,
    },
    Answer {
        question: String,
        connections: Vec<Connection>,
    },
}

/// Questions that this instance has asked, and those that it is to answer.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    state: Mutex<State>,
    arrived: Notify,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// What has come for this instance's own questions.
    own: HashMap<String, Vec<Connection>>,
    /// Users that others ask for, with the question.
    asked: Vec<(Arc<str>, String)>,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has come on [`CHANNEL`].
    pub(crate) fn receive(&self, data: &[u8]) {
        let mut state = self.lock();
        match serde_json::from_slice(data) {
            Ok(Word::Ask { user, question })
                if user.len() <= MOST_TEXT && state.asked.len() < MOST_QUESTIONS =>
            {
                state.asked.push((user, question));
                self.arrived.notify_one();
            }
            Ok(Word::Answer {
                question,
                connections,
            }) => {
                if let Some(all) = state.own.get_mut(&question) {
                    let room = MOST_CONNECTIONS - all.len();
                    all.extend(connections.into_iter().take(room));
                }
            }
            _ => tracing::debug!("a question about connections was not understood"),
        }
    }
}

impl Hub {
    /// Returns the connections of a user on all instances that answer within half a second; at most
    /// [`MOST_CONNECTIONS`].
    ///
    /// # Errors
    /// As the broker answers: the question could not be published.
    pub async fn connections_of(&self, user: &str) -> Result<Vec<Connection>> {
        let connections = self.connections();
        let number = connections.next.fetch_add(1, Ordering::Relaxed);
        let question = format!("{:x}.{number:x}", self.origin());
        connections.lock().own.insert(question.clone(), Vec::new());
        let word = Word::Ask {
            user: user.into(),
            question: question.clone(),
        };
        let asked = self.say_about(&word).await;
        if asked.is_ok() {
            sleep(WAIT).await;
        }
        let found = connections.lock().own.remove(&question).unwrap_or_default();
        asked.map(|()| found)
    }

    async fn say_about(&self, word: &Word) -> Result<()> {
        let text = serde_json::to_vec(word).expect("invariant: texts and numbers are JSON");
        let busy = |_| {
            Error::new(
                ErrorKind::Unavailable,
                "hub",
                "too much waits for the broker",
            )
        };
        let outgoing = Outgoing::new(CHANNEL, Bytes::from(text));
        let mut answers = self.publish(vec![outgoing]).await.map_err(busy)?;
        answers.pop().map_or(Ok(()), |answer| answer.map(drop))
    }

    /// Asks the shards for a user's sessions.
    async fn look_for(&self, user: &Arc<str>) -> Vec<Connection> {
        let (sender, mut found) = mpsc::channel(self.shards().len());
        self.post(|| Mail::Connections(Arc::clone(user), sender.clone()))
            .await;
        drop(sender);
        let mut all = Vec::new();
        let collect = async {
            while let Some(some) = found.recv().await {
                all.extend(some);
            }
        };
        // A shard that takes longer is left out.
        _ = timeout(LOOK, collect).await;
        all.truncate(MOST_CONNECTIONS);
        all
    }
}

/// Answers questions as long as the hub lives.
pub(crate) async fn run(hub: Arc<Hub>) {
    loop {
        hub.connections().arrived.notified().await;
        let asked = std::mem::take(&mut hub.connections().lock().asked);
        for (user, question) in asked {
            let connections = hub.look_for(&user).await;
            if !connections.is_empty() {
                // The one who asked waits for a time; an answer that is lost is missing there.
                let answer = Word::Answer {
                    question,
                    connections,
                };
                _ = hub.say_about(&answer).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_broker_is_bounded() {
        let connections = Connections::default();
        let one = Connection {
            client: "1.0.0.1".to_owned(),
            node: "a".to_owned(),
            subscriptions: 2,
        };
        connections.lock().own.insert("q".to_owned(), Vec::new());
        for question in ["q", "another"] {
            let answer = Word::Answer {
                question: question.to_owned(),
                connections: vec![one.clone(); MOST_CONNECTIONS],
            };
            let answer = serde_json::to_vec(&answer).unwrap();
            connections.receive(&answer);
            connections.receive(&answer);
        }
        assert_eq!(connections.lock().own.len(), 1);
        assert_eq!(connections.lock().own["q"].len(), MOST_CONNECTIONS);
        for _ in 0..2 * MOST_QUESTIONS {
            connections.receive(br#"{"ask":{"user":"ann","question":"q"}}"#);
        }
        connections.receive(b"{");
        assert_eq!(connections.lock().asked.len(), MOST_QUESTIONS);
    }
}
