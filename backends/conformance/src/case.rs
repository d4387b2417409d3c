//! One case: how it is run, and what came of it.

use std::{
    any::Any,
    fmt,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use hubplane_backplane::Backplane;
use tokio::time::timeout;

use crate::{Guarantee, Harness};

/// How long one case may take, on a slow broker and a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the contract lets `close` take.
const CLOSE: Duration = Duration::from_secs(5);

/// A case on its way.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type Panic = Box<dyn Any + Send>;
type Instances = Arc<Mutex<Vec<Arc<dyn Backplane>>>>;

tokio::task_local! {
    /// The instances that the case on this task has opened.
    static OPENED: Instances;
}

/// Notes an instance, so that it is closed also if the case fails before it closes it.
pub(crate) fn note_opened(instance: &Arc<dyn Backplane>) {
    let note = |all: &Instances| {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(instance));
    };
    // Outside of a case nobody would close it, and nobody has to.
    _ = OPENED.try_with(note);
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// The name of its test.
    pub name: &'static str,
    /// True if it stops or kills the broker, so that no other case may run at the same time.
    pub disturbs: bool,
    /// The guarantees that it tries.
    pub about: &'static [Guarantee],
    pub(crate) run: for<'a> fn(&'a dyn Harness) -> Running<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend and its broker keep what is promised.
    Held,
    /// They do not keep it; the text says what was seen.
    NotHeld(String),
    /// It was not tried, or only a part of it, for this reason.
    NotTried(String),
}

/// The payload of a panic that is not a failure: the case can't be tried here, for this reason.
struct Impossible(String);

/// Ends the case that calls it: it can't be tried here, for this reason. Only for a [`Harness`] on a user's broker, where a
/// right may be missing. In a test the same call is a failure, because no test skips itself.
pub fn not_tried(reason: impl fmt::Display) -> ! {
    // Unlike `panic!`, this calls no hook: nothing is printed.
    resume_unwind(Box::new(Impossible(reason.to_string())))
}

/// How a run of a case ended.
enum Ended {
    Done(Result<(), Panic>),
    Late,
    Stopped,
}

impl Case {
    /// Runs the case as a test does.
    ///
    /// # Panics
    /// Where the backend fails it, with what was expected, and where it can't be tried.
    pub async fn run(&self, harness: &dyn Harness) {
        let ended = self.end(harness, pending()).await;
        if let Ended::Done(Err(panic)) = ended {
            let panic = match panic.downcast::<Impossible>() {
                Ok(impossible) => panic!("{} was not tried: {}", self.name, impossible.0),
                Err(panic) => panic,
            };
            resume_unwind(panic);
        }
        assert!(matches!(ended, Ended::Done(_)), "{}", self.late());
    }

    /// Runs the case and tells what came of it, unless `stop` comes first. Whatever it opened is closed again.
    pub async fn attempt(&self, harness: &dyn Harness, stop: impl Future<Output = ()>) -> Outcome {
        match self.end(harness, stop).await {
            Ended::Done(Ok(())) => Outcome::Held,
            Ended::Done(Err(panic)) => outcome(&panic),
            Ended::Late => Outcome::NotHeld(self.late()),
            Ended::Stopped => Outcome::NotTried("interrupted".to_owned()),
        }
    }

    /// What is said of a case that ran into [`LIMIT`].
    fn late(&self) -> String {
        format!("the case {} was not over after {LIMIT:?}", self.name)
    }

    /// Runs the case until it ends, is late, or `stop` comes. A case that did not end well may have left the broker
    /// stopped and its instances open, so both are put right here.
    async fn end(&self, harness: &dyn Harness, stop: impl Future<Output = ()>) -> Ended {
        let opened = Instances::default();
        let running = AssertUnwindSafe((self.run)(harness)).catch_unwind();
        let running = OPENED.scope(Arc::clone(&opened), running);
        let ended = tokio::select! {
            done = timeout(LIMIT, running) => done.map_or(Ended::Late, Ended::Done),
            () = stop => Ended::Stopped,
        };
        if !matches!(ended, Ended::Done(Ok(()))) {
            // `control` may panic by `not_tried`: then the broker was not disturbed either.
            let control = self.disturbs.then(|| {
                let control = AssertUnwindSafe(|| harness.control());
                catch_unwind(control).ok().flatten()
            });
            if let Some(control) = control.flatten() {
                control.start().await;
            }
            // Closed here too, or a broken backend's tasks would go on into the next case.
            let left = std::mem::take(&mut *opened.lock().unwrap_or_else(PoisonError::into_inner));
            let closing = left.iter().map(|instance| timeout(CLOSE, instance.close()));
            futures_util::future::join_all(closing).await;
        }
        ended
    }
}

/// Reads the result from the panic with which a case ended.
fn outcome(panic: &Panic) -> Outcome {
    if let Some(Impossible(reason)) = panic.downcast_ref() {
        return Outcome::NotTried(reason.clone());
    }
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    Outcome::NotHeld(text.unwrap_or_else(|| "a panic without words".to_owned()))
}
