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

/// How long one case may take.
const LIMIT: Duration = Duration::from_secs(120);
/// What the contract allows for a close.
const CLOSE: Duration = Duration::from_secs(5);

/// A case on its way.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type Panic = Box<dyn Any + Send>;
type Instances = Arc<Mutex<Vec<Arc<dyn Backplane>>>>;

tokio::task_local! {
    /// What the case that runs here has opened.
    static OPENED: Instances;
}

/// Notes an instance, so that it is closed also where the case ends before it does so itself.
pub(crate) fn note_opened(instance: &Arc<dyn Backplane>) {
    let note = |all: &Instances| {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(instance));
    };
    // Outside of a case there is nobody who closes it.
    _ = OPENED.try_with(note);
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// The name of its test.
    pub name: &'static str,
    /// It stops or kills the broker, so that nothing else may run beside it.
    pub disturbs: bool,
    /// Which guarantees it tries.
    pub about: &'static [Guarantee],
    pub(crate) run: for<'a> fn(&'a dyn Harness) -> Running<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend and its broker do as is promised.
    Held,
    /// They don't, and this is what was seen.
    NotHeld(String),
    /// It was not, or not wholly, tried, for this reason.
    NotTried(String),
}

/// The payload of a panic that is no failure.
struct Impossible(String);

/// Ends the case that calls it: this can't be tried here, for this reason. For the methods of a [`Harness`] that is not a
/// test's: a test that can't do what it should fails.
pub fn not_tried(reason: impl fmt::Display) -> ! {
    // No panic's hook is called.
    resume_unwind(Box::new(Impossible(reason.to_string())))
}

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

    fn late(&self) -> String {
        format!("the case {} was not over after {LIMIT:?}", self.name)
    }

    /// The broker runs again afterwards in any case.
    async fn end(&self, harness: &dyn Harness, stop: impl Future<Output = ()>) -> Ended {
        let opened = Instances::default();
        let running = AssertUnwindSafe((self.run)(harness)).catch_unwind();
        let running = OPENED.scope(Arc::clone(&opened), running);
        let ended = tokio::select! {
            done = timeout(LIMIT, running) => done.map_or(Ended::Late, Ended::Done),
            () = stop => Ended::Stopped,
        };
        if !matches!(ended, Ended::Done(Ok(()))) {
            // Where there is no way to disturb the broker, it was not disturbed.
            let control = self.disturbs.then(|| {
                let control = AssertUnwindSafe(|| harness.control());
                catch_unwind(control).ok().flatten()
            });
            if let Some(control) = control.flatten() {
                control.start().await;
            }
            let left = std::mem::take(&mut *opened.lock().unwrap_or_else(PoisonError::into_inner));
            let closing = left.iter().map(|instance| timeout(CLOSE, instance.close()));
            futures_util::future::join_all(closing).await;
        }
        ended
    }
}

fn outcome(panic: &Panic) -> Outcome {
    if let Some(Impossible(reason)) = panic.downcast_ref() {
        return Outcome::NotTried(reason.clone());
    }
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    Outcome::NotHeld(text.unwrap_or_else(|| "a panic without words".to_owned()))
}
