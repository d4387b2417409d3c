//! Which server is the master, as the Sentinels say. Each of them is asked on a connection of its
//! own, every second and as soon as it announces a switch, so that all connections of all instances
//! move within moments of each other.
//!
//! Sentinels may disagree for a while: one that was cut off names the old master. Their decisions
//! are numbered (`config-epoch`), and the higher number is the later decision; see
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>. This file only says
//! who the master is. Whether that server takes the part is checked by [`crate::dial`].

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Error, ErrorKind, Result};
use redis::{Pipeline, RedisConnectionInfo, RedisError, Value, cmd};
use tokio::{
    select,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::{Config, Node},
    connection::{ANSWER_LIMIT, Link},
    failure, hello,
    inbox::Inbox,
};
use hubplane_kit::Backoff;

/// How often each Sentinel is asked. The announcements are faster; this is for those that a
/// connection has missed.
const ASK: Duration = Duration::from_secs(1);
/// How long the others may take to contradict the Sentinel that answered first.
const GRACE: Duration = Duration::from_millis(250);
/// Where a Sentinel announces that another server is the master: the one that leads the switch says first that it has
/// promoted a replica.
const SWITCHES: [&str; 2] = ["+promoted-slave", "+switch-master"];

/// What all Sentinels of an address say now. Dropping it ends the tasks that ask them.
#[derive(Debug)]
pub(crate) struct Sentinels {
    view: watch::Receiver<View>,
    _asking: JoinSet<()>,
}

/// What one Sentinel said last. Both are kept: what a Sentinel knew before it went away may still
/// be the best there is.
#[derive(Clone, Debug, Default)]
struct Word {
    known: Option<Known>,
    /// Why it gives no answer now.
    error: Option<(ErrorKind, String)>,
}

/// A master, and the number of the decision that made it the master; 0 if the user may not ask for
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    epoch: u64,
    node: Node,
}

/// What the Sentinels said last, in the address's order.
#[derive(Clone, Debug)]
struct View(Vec<Word>);

impl Word {
    const fn is_living(&self) -> bool {
        self.known.is_some() && self.error.is_none()
    }

    const fn was_asked(&self) -> bool {
        self.known.is_some() || self.error.is_some()
    }
}

impl View {
    /// Returns the master by the latest decision. Where one number names several masters, or the
    /// numbers are not known, it is the one that most Sentinels name. What an unreachable Sentinel
    /// said last counts until most of the others answer: one that was cut off from the rest, and is
    /// the only one left in reach, may be behind.
    fn master(&self) -> Option<&Node> {
        let living = self.0.iter().filter(|word| word.is_living()).count();
        let most_live = living * 2 > self.0.len();
        let counted = self.0.iter().filter(|word| !most_live || word.is_living());
        let known: Vec<_> = counted.filter_map(|word| word.known.as_ref()).collect();
        let votes = |node: &Node| known.iter().filter(|known| known.node == *node).count();
        known
            .iter()
            .max_by_key(|known| (known.epoch, votes(&known.node)))
            .map(|known| &known.node)
    }

    fn were_all_asked(&self) -> bool {
        self.0.iter().all(Word::was_asked)
    }

    /// Returns the error that helps most of why no Sentinel names a master.
    fn error(&self) -> Error {
        let errors = self.0.iter().filter_map(|word| word.error.as_ref());
        let errors =
            errors.map(|(kind, text)| Error::new(*kind, crate::backend::NAME, text.clone()));
        failure::telling(errors.collect())
    }
}

impl Sentinels {
    /// Begins to ask, one task for each Sentinel. Must be called on the runtime that the
    /// connections live on.
    pub(crate) fn ask(
        config: &Arc<Config>,
        nodes: &[Node],
        master: &str,
        login: &RedisConnectionInfo,
    ) -> Self {
        let (sender, view) = watch::channel(View(vec![Word::default(); nodes.len()]));
        let sender = Arc::new(sender);
        let mut asking = JoinSet::new();
        for (index, node) in nodes.iter().enumerate() {
            let asked = Asked {
                config: Arc::clone(config),
                node: node.clone(),
                master: master.to_owned(),
                login: login.clone(),
                index,
                view: Arc::clone(&sender),
            };
            asking.spawn(asked.run());
        }
        Self {
            view,
            _asking: asking,
        }
    }

    /// Returns the master. Right after the start this waits for the first answer and then up to 250
    /// ms for the others; later it returns at once. An error is what the Sentinels gave instead of
    /// an answer.
    pub(crate) async fn master(&self) -> Result<Node> {
        let mut view = self.view.clone();
        // The senders live as long as the tasks, and those as long as this.
        let answered = |view: &View| view.were_all_asked() || view.master().is_some();
        let _ = view.wait_for(answered).await;
        let _ = timeout(GRACE, view.wait_for(View::were_all_asked)).await;
        let view = view.borrow();
        view.master().cloned().ok_or_else(|| view.error())
    }

    /// Returns the new master as soon as it is another server than `from`; waits for that without a
    /// limit.
    pub(crate) async fn moved(&self, from: &Node) -> Node {
        let mut view = self.view.clone();
        let moved = |view: &View| view.master().is_some_and(|master| master != from);
        // The senders are gone only when the instance ends, and with it whoever waits here.
        let Ok(view) = view.wait_for(moved).await else {
            return std::future::pending().await;
        };
        let master = view.master().cloned();
        drop(view);
        master.expect("invariant: there is one that differs")
    }
}

/// One Sentinel that is asked, and where its answers go.
struct Asked {
    config: Arc<Config>,
    node: Node,
    master: String,
    login: RedisConnectionInfo,
    index: usize,
    view: Arc<watch::Sender<View>>,
}

impl Asked {
    /// Asks for as long as the task lives, over one connection after the other.
    async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let up = tokio::time::Instant::now();
            let Err(error) = self.follow().await;
            tracing::debug!(backend = crate::backend::NAME, "sentinel: {error}");
            let source = std::error::Error::source(&error);
            // Others get copies of this error, and a source can't be copied: so its words are kept
            // with the message.
            let text = match source {
                Some(source) => format!("{} ({source})", error.message()),
                None => error.message().to_owned(),
            };
            self.note(|word| word.error = Some((error.kind(), text)));
            backoff.lost(up);
            backoff.wait().await;
        }
    }

    /// Changes what is known from this Sentinel, and wakes all who wait for it.
    fn note(&self, change: impl FnOnce(&mut Word)) {
        self.view
            .send_modify(|view| change(&mut view.0[self.index]));
    }

    /// Asks over one connection, for as long as it answers. Always ends with an error.
    async fn follow(&self) -> Result<std::convert::Infallible> {
        let inbox = Arc::new(Inbox::default());
        let opening = Link::open(
            &self.config,
            &self.login,
            &self.node,
            Some(Arc::clone(&inbox)),
        );
        let mut link = Box::pin(opening).await?;
        // Where the right to subscribe is missing, asking each second has to do.
        let subscribing = link.connection.subscribe(&SWITCHES);
        if !matches!(timeout(ANSWER_LIMIT, subscribing).await, Ok(Ok(()))) {
            let node = &self.node;
            tracing::debug!(backend = crate::backend::NAME, %node, "can't subscribe to {SWITCHES:?}");
        }
        loop {
            let known = timeout(ANSWER_LIMIT, self.question(&mut link)).await;
            let known = known.unwrap_or_else(|_elapsed| {
                let (node, limit) = (&self.node, ANSWER_LIMIT);
                Err(failure::unavailable(format!(
                    "the Sentinel {node} did not answer within {limit:?}"
                )))
            })?;
            self.note(|word| {
                *word = Word {
                    known: Some(known),
                    error: None,
                };
            });
            select! {
                // An announcement has come; what it says is not read, since the answer to the
                // question says more.
                () = inbox.filled() => inbox.clear(),
                () = sleep(ASK) => {}
            }
        }
    }

    /// Asks once for the master. `Config` if this Sentinel watches no master of that name.
    async fn question(&self, link: &mut Link) -> Result<Known> {
        let mut questions = Pipeline::with_capacity(2);
        // The number comes first: it must not be newer than the address.
        for question in ["MASTER", "GET-MASTER-ADDR-BY-NAME"] {
            let mut command = cmd("SENTINEL");
            command.arg(question).arg(&self.master);
            questions.add_command(command);
        }
        let failed = |error| failure::of_login(&self.node, error);
        let answers = link.connection.send_packed_commands(&questions, 0, 2);
        let mut answers = answers.await.map_err(failed)?.into_iter();
        let (state, address) = (answers.next(), answers.next().unwrap_or(Value::Nil));
        // A user may lack the right to ask for the state; then the Sentinels' decisions have no order.
        let epoch = state.as_ref().and_then(hello::config_epoch).unwrap_or(0);
        if let Value::ServerError(error) = address {
            return Err(failed(RedisError::from(error)));
        }
        let address: Option<(String, u16)> =
            redis::from_redis_value(address).map_err(|error| failed(RedisError::from(error)))?;
        let (name, port) = address.ok_or_else(|| {
            failure::config(format!(
                "the Sentinel {} watches no master named {:?}; the key \"sentinel\" is that name",
                self.node, self.master
            ))
        })?;
        Ok(Known {
            epoch,
            node: Node { name, port },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(epoch: u64, name: &str, living: bool) -> Word {
        let (name, port) = (name.to_owned(), 1);
        Word {
            known: Some(Known {
                epoch,
                node: Node { name, port },
            }),
            error: (!living).then(|| (ErrorKind::Unavailable, "away".to_owned())),
        }
    }

    #[test]
    fn the_latest_decision_counts_and_a_dead_sentinel_only_while_few_live() {
        let master = |words: &[Word]| View(words.to_vec()).master().map(|node| node.name.clone());
        let (old, new) = (word(1, "old", true), word(2, "new", true));
        let gone = word(2, "new", false);
        assert_eq!(master(&[old.clone(), new.clone()]).as_deref(), Some("new"));
        let one_lives = [old.clone(), gone.clone(), Word::default()];
        assert_eq!(master(&one_lives).as_deref(), Some("new"));
        // A master that was made anew begins at 0.
        let most_live = [old.clone(), old, gone];
        assert_eq!(master(&most_live).as_deref(), Some("old"));
        assert_eq!(master(&[Word::default()]), None);
        // Without the right to ask for the number of the decision.
        let word = |name| word(0, name, true);
        let split = [word("new"), word("new"), word("old")];
        assert_eq!(master(&split).as_deref(), Some("new"));
    }
}
