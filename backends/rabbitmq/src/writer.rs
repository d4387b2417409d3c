//! The side that publishes: one task that writes all messages over one connection, and waits for
//! their confirms. It follows the side that receives from node to node.
//!
//! One task and one channel keep each publisher's order. It reconnects and never retries: what was
//! written and not confirmed is `Unknown`, and only the hub may send it again, with the same
//! number. The connection itself is in [`crate::writing`].

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hubplane_backplane::{ErrorKind, Result};
use hubplane_kit::Backoff;
use lapin::Event;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    link::{NOT_FOUND, reply_code},
    publish::{Call, Publisher},
    shared::{ASK_EVERY, ATTEMPT, SILENCE, Shared},
    writing::{BLOCKED, Confirm, NOT_CONNECTED, Question, Writing, write},
};

/// Messages without a confirm, at most. More would only wait in lapin, where nothing can be taken
/// back.
const OUTSTANDING: usize = 1_000;
/// How long to take in the confirms that are already here when a connection ends.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// A broker that confirms nothing for so long, and blocks nobody, is given up; so is a node that
/// takes no connection for so long.
const STUCK: Duration = Duration::from_secs(5);

const MOVING: &str = "the side that receives has moved to another node";

/// Why the writer stopped using a connection.
enum End {
    Stopped,
    Broken(String),
}

/// The task that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
}

impl Writer {
    /// Connects to the node in use. Returns what callers publish by, the task, and the connection
    /// for [`Self::run`].
    pub(crate) async fn open(shared: &Arc<Shared>) -> Result<(Publisher, Self, Writing)> {
        let writing = Writing::start(shared).await?;
        let (publisher, calls) = Publisher::new(shared);
        let this = Self {
            shared: Arc::clone(shared),
            calls,
        };
        Ok((publisher, this, writing))
    }

    /// Writes until the backend is closed, over this connection and those that come after it.
    pub(crate) async fn run(mut self, mut writing: Writing) {
        loop {
            let mut confirms = FuturesUnordered::new();
            let end = self.serve(&mut writing, &mut confirms).await;
            self.shared.publishing.send_replace(false);
            let why = match end {
                End::Stopped => None,
                End::Broken(why) => Some(why),
            };
            if let Some(why) = &why {
                tracing::warn!(why, "nothing can be published to RabbitMQ");
                self.shared.refused(why.clone());
            }
            let rest = async {
                while let Some(failed) = confirms.next().await {
                    self.noted(failed.as_ref());
                }
            };
            let _ = timeout(LAST_WORDS, rest).await;
            // What is left was written and has no answer: its callers learn that here.
            drop(confirms);
            if why.is_none() {
                // Calls that wait are dropped, and so tell their callers that the backend is
                // closed.
                self.calls.close();
                while self.calls.try_recv().is_ok() {}
                writing.link.close().await;
                return;
            }
            drop(writing);
            match self.reconnect().await {
                Some(next) => writing = next,
                None => return,
            }
            tracing::info!("RabbitMQ takes messages again");
            self.shared.publishing.send_replace(true);
        }
    }

    /// Connects until it succeeds; returns `None` once the backend is closed. Calls that come
    /// meanwhile are refused at once.
    async fn reconnect(&mut self) -> Option<Writing> {
        let shared = Arc::clone(&self.shared);
        let mut used = shared.nodes.watch();
        let (mut backoff, mut since) = (Backoff::default(), Instant::now());
        loop {
            let pause = backoff.next_wait();
            let mut attempt = std::pin::pin!(async {
                let _ = timeout(pause, shared.reached.notified()).await;
                timeout(ATTEMPT, Writing::start(&shared)).await
            });
            let attempt = loop {
                select! {
                    () = shared.stopped() => return None,
                    // Dropped: its caller learns at once that there is no connection.
                    _ = self.calls.recv() => {}
                    _ = used.changed() => break None,
                    attempt = &mut attempt => break Some(attempt),
                }
            };
            match attempt {
                // The side that receives has found another node: what went before is no word on that one.
                None => (backoff, since) = (Backoff::default(), Instant::now()),
                Some(Ok(Ok(writing))) => return Some(writing),
                Some(Ok(Err(error))) => {
                    let why = error.to_string();
                    tracing::debug!(why, "not connected yet");
                    // Logged once for each reason: the attempts go on for as long as it takes.
                    if shared.refused(why.clone()) && error.kind() == ErrorKind::Config {
                        tracing::warn!(why, "nothing can be published to RabbitMQ");
                    }
                    if error.kind() == ErrorKind::Config {
                        // Another node would say the same.
                        since = Instant::now();
                    }
                }
                Some(Err(_)) => tracing::debug!("not connected yet: no answer"),
            }
            if since.elapsed() > STUCK {
                shared.leave_node();
            }
        }
    }

    /// Writes over one connection until it ends. What is written waits for its confirm in
    /// `confirms`, which the caller keeps beyond the end.
    async fn serve(
        &mut self,
        writing: &mut Writing,
        confirms: &mut FuturesUnordered<Confirm>,
    ) -> End {
        let shared = Arc::clone(&self.shared);
        let mut current: Option<Call> = None;
        let mut question: Option<Question> = None;
        let (mut ask_due, mut silent_at) = (Instant::now() + ASK_EVERY, Instant::now());
        let mut confirmed_at = Instant::now();
        let mut used = shared.nodes.watch();
        loop {
            if !writing.channel.status().connected() {
                return End::Broken(NOT_CONNECTED.to_owned());
            }
            if *used.borrow_and_update() != writing.link.node {
                return End::Broken(MOVING.to_owned());
            }
            // The time without a confirm counts only while one is owed.
            if confirms.is_empty() {
                confirmed_at = Instant::now();
            }
            // As many as may be outstanding, without a wait between them: a batch goes out in few
            // writes.
            while let Some(call) = &mut current
                && confirms.len() < OUTSTANDING
            {
                match call.messages.next() {
                    Some((index, message)) => {
                        let ticket = Arc::clone(&call.ticket);
                        write(writing, &shared, (index, message), &ticket, confirms);
                    }
                    None => current = None,
                }
            }
            select! {
                biased;
                () = shared.stopped() => return End::Stopped,
                Some(failed) = confirms.next() => match failed {
                    Some(error) => return self.broken(&error),
                    None => {
                        confirmed_at = Instant::now();
                        silent_at = silent_at.max(confirmed_at + SILENCE);
                    }
                },
                Some(event) = writing.events.next() => match event {
                    Event::Error(error) => return self.broken(&error),
                    Event::ConnectionBlocked(why) => tracing::warn!(why, BLOCKED),
                    Event::ConnectionUnblocked => tracing::info!("RabbitMQ takes messages again"),
                    _ => {}
                },
                _ = used.changed() => {}
                () = sleep_until(confirmed_at + STUCK), if !confirms.is_empty() => {
                    if !writing.link.blocked() {
                        shared.leave_node();
                        return End::Broken("RabbitMQ confirms nothing".to_owned());
                    }
                    confirmed_at = Instant::now();
                }
                call = self.calls.recv(), if current.is_none() => match call {
                    Some(call) => current = Some(call),
                    None => return End::Stopped,
                },
                answer = answer(&mut question) => match answer {
                    Ok(()) => ask_due = Instant::now() + ASK_EVERY,
                    Err(error) => return self.broken(&error),
                },
                () = sleep_until(ask_due), if question.is_none() => {
                    question = Some(writing.ask(&shared));
                    silent_at = Instant::now() + SILENCE;
                }
                () = sleep_until(silent_at), if question.is_some() => {
                    // A broker that blocks us reads nothing, so it can't answer; the heartbeat watches over it.
                    if !writing.link.blocked() {
                        return End::Broken("RabbitMQ does not answer".to_owned());
                    }
                    silent_at = Instant::now() + SILENCE;
                }
            }
        }
    }

    /// Returns the end of a connection by this error.
    fn broken(&self, error: &lapin::Error) -> End {
        self.noted(Some(error));
        End::Broken(error.to_string())
    }

    /// Tells the receiving side if the error says that the exchange is gone.
    fn noted(&self, error: Option<&lapin::Error>) {
        if error.and_then(reply_code) == Some(NOT_FOUND) {
            self.shared.exchange_lost.notify_one();
        }
    }
}

/// Returns the answer to the open question; waits for ever if there is none. For `select!`.
async fn answer(question: &mut Option<Question>) -> lapin::Result<()> {
    match question {
        Some(open) => {
            let answer = open.await;
            *question = None;
            answer
        }
        None => pending().await,
    }
}
