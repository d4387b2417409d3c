//! The suite must bite: memory backends, each broken in one way, fail the case that is meant for it.

mod broken;

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
};

use broken::{Broken, Fault};
use futures_util::FutureExt;

/// Each fault, and the case that must catch it.
const CAUGHT: &[(Fault, &str)] = &[
    (Fault::Drops, "every_instance_hears_each_message_once"),
    (Fault::Repeats, "every_instance_hears_each_message_once"),
    (
        Fault::LosesMetadata,
        "every_instance_hears_each_message_once",
    ),
    (
        Fault::EchoesNothing,
        "every_instance_hears_each_message_once",
    ),
    (Fault::Reorders, "order_is_as_declared"),
    (
        Fault::FailsTheWholeBatch,
        "a_batch_is_answered_item_by_item",
    ),
    (
        Fault::ForgetsRemovedInterest,
        "interest_changes_lose_nothing",
    ),
    (
        Fault::ReadsPatterns,
        "hostile_names_and_payloads_arrive_exactly",
    ),
    (
        Fault::AltersPayloads,
        "hostile_names_and_payloads_arrive_exactly",
    ),
    (Fault::TakesTooLarge, "limits_are_as_declared"),
    (Fault::LeaksAcrossSpaces, "spaces_never_hear_each_other"),
    (Fault::HasNoPositions, "positions_are_as_declared"),
    (Fault::ReadsInclusively, "history_is_as_declared"),
    (Fault::HidesTheTrim, "trimmed_history_is_said"),
    (Fault::PromisesHistory, "history_is_as_declared"),
    (Fault::IgnoresClose, "close_ends_everything"),
    (Fault::OpensAnything, "wrong_addresses_are_refused"),
    (Fault::HidesTheGap, "a_kill_is_survived"),
    (Fault::AnnouncesLate, "a_kill_is_survived"),
    (Fault::AcknowledgesBeforeStoring, "a_kill_is_survived"),
    (Fault::ForgetsInterestOnReconnect, "a_restart_is_survived"),
    (
        Fault::AcknowledgesWithoutBroker,
        "publishing_without_a_broker_is_answered",
    ),
];

/// What a case says of a backend; `None` where it passes.
fn verdict(name: &str, harness: &Broken) -> Option<String> {
    // The panics' messages go to a hook of the process, so one case runs at a time.
    static SAID: Mutex<String> = Mutex::new(String::new());
    std::panic::set_hook(Box::new(|panic| {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&panic.to_string());
    }));
    SAID.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let case = hubplane_conformance::cases()
        .into_iter()
        .find(|case| case.name == name)
        .expect("a case");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(AssertUnwindSafe(case.run(harness)).catch_unwind());
    runtime.shutdown_background();
    done.err()
        .map(|_| SAID.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

#[test]
fn each_mutant_is_caught_by_its_case_and_the_sound_one_passes() {
    let mut wrong = Vec::new();
    for case in hubplane_conformance::cases() {
        if let Some(said) = verdict(case.name, &Broken::new(None)) {
            wrong.push(format!("the sound backend fails {}: {said}", case.name));
        }
    }
    for &(fault, case) in CAUGHT {
        if verdict(case, &Broken::new(Some(fault))).is_none() {
            wrong.push(format!("{fault:?} passes {case}"));
        }
    }
    drop(std::panic::take_hook());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
