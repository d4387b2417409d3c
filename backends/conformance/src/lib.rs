//! The conformance suite: what every backend must do, held against the real broker.
//!
//! A backend's `tests/conformance.rs` writes a [`Harness`] and one macro line, `hubplane_conformance::suite!(…)`, which
//! expands to one named test per case of the central list. Cases read the declared capabilities: what is declared
//! must be there, what is not must be absent. Every case opens at least two instances, as production does. Cases that
//! hurt the broker run alone.

mod case;
mod cases;
mod guarantee;
mod harness;
mod site;
mod space;

use std::sync::{PoisonError, RwLock};

pub use case::{Case, Outcome, not_tried};
pub use guarantee::Guarantee;
pub use harness::{Control, Harness, Refused, required};
pub use site::{Left, Site};

/// The central list, from which [`cases()`] and `suite!` are made: each case with whether it stops the broker, and the
/// guarantees that it is about. A case that is missing here is dead code, which the compiler finds.
macro_rules! list {
    ($d:tt $($name:ident: $disturbs:literal [$($about:ident)*],)*) => {
        /// All cases, in the order in which the command runs them.
        pub fn cases() -> Vec<Case> {
            vec![$(Case {
                name: stringify!($name),
                disturbs: $disturbs,
                about: &[$(Guarantee::$about),*],
                run: |harness| Box::pin(cases::$name(harness)),
            },)*]
        }

        /// Expands to one named test per case, for a [`Harness`].
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
    every_instance_hears_each_message_once: false [Delivery],
    order_is_as_declared: false [Order],
    a_batch_is_answered_item_by_item: false [Delivery],
    interest_changes_lose_nothing: false [Interest],
    repeated_interest_is_as_once: false [Interest],
    a_slow_instance_loses_nothing_in_silence: false [Delivery],
    hostile_names_and_payloads_arrive_exactly: false [Payload Channel],
    payloads_are_limited_as_declared: false [Payload],
    names_are_limited_as_declared: false [Channel],
    spaces_never_hear_each_other: false [Contract],
    outside_messages_arrive_as_they_are: false [Contract],
    positions_are_as_declared: false [Replay],
    progress_is_as_declared: false [Replay],
    history_is_as_declared: false [Replay],
    trimmed_history_is_said: false [Replay],
    close_ends_everything: false [Durability Contract],
    close_works_while_blocked: false [Contract],
    close_works_twice_at_once: false [Contract],
    an_absent_broker_is_said_in_time: false [Contract],
    wrong_addresses_are_refused: false [Contract],
    a_restart_is_survived: true [OnRestart],
    a_kill_is_survived: true [OnRestart Durability],
    publishing_without_a_broker_is_answered: true [Durability],
    interest_without_a_broker_is_kept: true [OnRestart],
}

/// Runs one case as a test, on a runtime of its own.
///
/// # Panics
/// If the backend fails it.
pub fn run(name: &str, harness: &dyn Harness) {
    // Cases that stop the broker run alone; all others may run at the same time.
    static BROKER: RwLock<()> = RwLock::new(());
    let case = cases()
        .into_iter()
        .find(|case| case.name == name)
        .expect("invariant: the suite lists its cases");
    // A case that failed has poisoned the lock, and the others run all the same.
    let (_alone, _together);
    match case.disturbs {
        true => _alone = BROKER.write().unwrap_or_else(PoisonError::into_inner),
        false => _together = BROKER.read().unwrap_or_else(PoisonError::into_inner),
    }
    // Two threads, so that a backend that blocks one is seen as slow and not as dead.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(case.run(harness));
}
