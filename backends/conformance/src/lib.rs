//! The conformance suite: what every backend must do, held against the real broker.
//!
//! A backend's `tests/conformance.rs` writes a [`Harness`] and one macro line, `hubplane_conformance::suite!(…)`, which
//! expands to one named test per case of the central list. Cases read the declared capabilities: what is declared
//! must be there, what is not must be absent. Every case opens at least two instances, as production does. Cases that
//! hurt the broker run alone.

mod cases;
mod harness;
mod space;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use futures_util::FutureExt;

pub use harness::{Control, Harness, Refused, required};

/// How long one case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A case on its way.
type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name of its test.
    pub name: &'static str,
    /// It stops or kills the broker, so that nothing else may run beside it.
    pub disturbs: bool,
    run: for<'a> fn(&'a dyn Harness) -> Running<'a>,
}

impl Case {
    /// Runs the case; it panics where the backend fails it, with what was expected. The broker runs again
    /// afterwards in any case.
    pub async fn run(&self, harness: &dyn Harness) {
        let running = AssertUnwindSafe((self.run)(harness)).catch_unwind();
        let done = tokio::time::timeout(LIMIT, running).await;
        let sound = matches!(done, Ok(Ok(())));
        let control = if self.disturbs {
            harness.control()
        } else {
            None
        };
        if let (false, Some(control)) = (sound, control) {
            control.start().await;
        }
        if let Ok(Err(panic)) = done {
            resume_unwind(panic);
        }
        assert!(
            done.is_ok(),
            "the case {} was not over after {LIMIT:?}",
            self.name
        );
    }
}

/// The central list: from it come [`cases()`] and `suite!`.
macro_rules! list {
    ($d:tt $($name:ident: $disturbs:literal),* $(,)?) => {
        /// All cases.
        pub fn cases() -> Vec<Case> {
            vec![$(Case {
                name: stringify!($name),
                disturbs: $disturbs,
                run: |harness| Box::pin(cases::$name(harness)),
            }),*]
        }

        /// One named test per case, for a [`Harness`].
        #[macro_export]
        macro_rules! suite {
            ($d harness:expr) => {
                $(#[test]
                fn $name() {
                    $crate::run(stringify!($name), &$d harness);
                })*
            };
        }
    };
}

list! { $
    every_instance_hears_each_message_once: false,
    order_is_as_declared: false,
    a_batch_is_answered_item_by_item: false,
    interest_changes_lose_nothing: false,
    repeated_interest_is_as_once: false,
    a_slow_instance_loses_nothing_in_silence: false,
    hostile_names_and_payloads_arrive_exactly: false,
    limits_are_as_declared: false,
    spaces_never_hear_each_other: false,
    outside_messages_arrive_as_they_are: false,
    positions_are_as_declared: false,
    progress_is_as_declared: false,
    history_is_as_declared: false,
    trimmed_history_is_said: false,
    close_ends_everything: false,
    close_works_while_blocked: false,
    close_works_twice_at_once: false,
    an_absent_broker_is_said_in_time: false,
    wrong_addresses_are_refused: false,
    a_restart_is_survived: true,
    a_kill_is_survived: true,
    publishing_without_a_broker_is_answered: true,
    interest_without_a_broker_is_kept: true,
}

/// Runs one case as a test, on a runtime of its own.
///
/// # Panics
/// Where the backend fails it.
pub fn run(name: &str, harness: &dyn Harness) {
    static BROKER: RwLock<()> = RwLock::new(());
    let case = cases()
        .into_iter()
        .find(|case| case.name == name)
        .expect("invariant: the suite lists its cases");
    // A failed case must not stop the others.
    let (_alone, _together);
    match case.disturbs {
        true => _alone = BROKER.write().unwrap_or_else(PoisonError::into_inner),
        false => _together = BROKER.read().unwrap_or_else(PoisonError::into_inner),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(case.run(harness));
}
