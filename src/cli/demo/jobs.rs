//! The demo's work: jobs in steps, whose progress is published through the instance's hub.
//!
//! Stands for a team's own code, so it knows only the hub's `publish`, and nothing of sockets.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hubplane_backplane::Outgoing;
use serde::Serialize;
use tokio::{sync::watch, time::sleep};

use hubplane_hub::Hub;

/// Steps of a job.
const STEPS: u32 = 10;
/// How long a step takes.
const STEP: Duration = Duration::from_millis(300);
/// The most jobs that one instance runs at once.
const JOBS: usize = 64;
/// How many jobs' states are kept; the oldest is forgotten for a new one.
const KEPT: usize = 1_024;
/// Longest name of a job.
const NAME_BYTES: usize = 32;
/// How often to try to publish the end of a job while the broker is away, and the pause between two attempts.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(1);

/// How far a job is: what is published, and what the book keeps.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Progress {
    job: String,
    step: u32,
    of: u32,
    /// The name of the instance that runs it.
    worker: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Working,
    Done,
    Stopped,
}

/// The last state of each job: what an application has in its database. A page that may have missed something asks
/// here.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<VecDeque<Progress>>);

impl Book {
    /// Returns the last state of a job, or `None` if the book does not have it.
    pub(super) fn state_of(&self, job: &str) -> Option<Progress> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|progress| progress.job == job).cloned()
    }

    /// Writes a job's newest state. A job keeps its place, so the oldest job is forgotten first.
    fn note(&self, progress: &Progress) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.iter_mut().find(|known| known.job == progress.job) {
            Some(known) => known.clone_from(progress),
            None => {
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(progress.clone());
            }
        }
    }
}

/// Why a job was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The name is not valid for a job, or was used before.
    Name,
    /// This instance runs too many jobs already, or is stopping.
    Busy,
}

/// Runs one instance's jobs.
#[derive(Debug)]
pub(super) struct Worker {
    hub: Arc<Hub>,
    book: Arc<Book>,
    /// How many jobs run; each counts itself out when it ends.
    jobs: AtomicUsize,
    /// Becomes true once, when the instance stops; it never becomes false again.
    stopping: watch::Sender<bool>,
}

impl Worker {
    pub(super) fn new(hub: Arc<Hub>, book: Arc<Book>) -> Self {
        Self {
            hub,
            book,
            jobs: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        }
    }

    /// Returns the instance's name.
    pub(super) fn name(&self) -> &str {
        self.hub.node()
    }

    /// Returns how many jobs are running.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Ends all jobs early.
    /// They publish that they were stopped, so that a page does not wait for them.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Starts a job, which goes on by itself.
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing was started.
    pub(super) fn begin(self: &Arc<Self>, job: &str) -> Result<(), Refused> {
        // Only signs that may stand in a channel's name and in an address without an escape.
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_name = (1..=NAME_BYTES).contains(&job.len()) && job.bytes().all(good);
        // Names are used once: a second job of a name would mix its messages with the first one's.
        if !is_name || self.book.state_of(job).is_some() {
            return Err(Refused::Name);
        }
        if *self.stopping.borrow() || self.jobs() >= JOBS {
            return Err(Refused::Busy);
        }
        self.jobs.fetch_add(1, Ordering::Relaxed);
        let mut progress = Progress {
            job: job.to_owned(),
            step: 0,
            of: STEPS,
            worker: self.name().to_owned(),
            state: State::Working,
        };
        // Noted before it is answered, so that a page that asks at once finds it.
        self.book.note(&progress);
        let worker = Arc::clone(self);
        tokio::spawn(async move {
            worker.work(&mut progress).await;
            worker.jobs.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }

    /// Goes through the steps, one every [`STEP`], until the last one or until the instance stops.
    async fn work(&self, progress: &mut Progress) {
        // A value and not an event: whoever subscribes after the stop sees it all the same.
        let mut stopping = self.stopping.subscribe();
        while progress.state == State::Working {
            tokio::select! {
                () = sleep(STEP) => progress.step += 1,
                _ = stopping.wait_for(|stopping| *stopping) => progress.state = State::Stopped,
            }
            if progress.step == STEPS {
                progress.state = State::Done;
            }
            self.report(progress).await;
        }
    }

    /// Writes the progress into the book, and then publishes it: a page that hears of a gap must find the newest state in the
    /// book. A step is soon replaced by the next one, so only the end of a job is worth several attempts.
    async fn report(&self, progress: &Progress) {
        self.book.note(progress);
        // Only texts and numbers, which JSON always holds.
        let data = serde_json::to_vec(progress).expect("invariant: progress is always JSON");
        let message = Outgoing::new(format!("jobs.{}", progress.job), data);
        let tries = if progress.state == State::Working {
            1
        } else {
            TRIES
        };
        for _ in 0..tries {
            // Most often the broker is away; a page that asks the book sees the state all the same.
            match self.hub.publish(vec![message.clone()]).await {
                Ok(results) if results.iter().all(Result::is_ok) => return,
                answer => tracing::warn!(job = progress.job, ?answer, "progress was not published"),
            }
            if *self.stopping.borrow() {
                return; // the book has it, and this instance's hub is about to close
            }
            sleep(PAUSE).await;
        }
    }
}
