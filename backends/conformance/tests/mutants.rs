//! The suite must catch faults: backends that are broken in one way each must fail the case that is meant for the fault, and
//! pass the cases that have nothing to do with it.

mod broken;

use std::{collections::BTreeSet, panic, sync::Arc};

use broken::{Broken, Fault};
use hubplane_conformance::{Case, cases};
use tokio::{sync::Semaphore, task::JoinSet};

/// Cases that run at the same time. Most of them wait, but some publish as fast as they can.
const TOGETHER: usize = 32;

/// Each fault, the case that is meant for it, and the cases that must see it, too.
const CAUGHT: &[(Fault, &str, &[&str])] = &[
    (Fault::Drops, "every_instance_hears_each_message_once", &[]),
    (
        Fault::Repeats,
        "every_instance_hears_each_message_once",
        &[],
    ),
    (
        Fault::LosesMetadata,
        "every_instance_hears_each_message_once",
        &[],
    ),
    (
        Fault::EchoesNothing,
        "every_instance_hears_each_message_once",
        &[],
    ),
    (
        Fault::CriesWolf,
        "every_instance_hears_each_message_once",
        &[],
    ),
    (Fault::Reorders, "order_is_as_declared", &[]),
    (Fault::OrdersDifferently, "order_is_as_declared", &[]),
    (
        Fault::FailsTheWholeBatch,
        "a_batch_is_answered_item_by_item",
        &[],
    ),
    (
        Fault::ForgetsRemovedInterest,
        "interest_changes_lose_nothing",
        &[],
    ),
    (Fault::CountsInterest, "repeated_interest_is_as_once", &[]),
    (
        Fault::HidesTheOverflow,
        "a_slow_instance_loses_nothing_in_silence",
        &[],
    ),
    (
        Fault::ReadsPatterns,
        "hostile_names_and_payloads_arrive_exactly",
        &[],
    ),
    (
        Fault::AltersPayloads,
        "hostile_names_and_payloads_arrive_exactly",
        &[],
    ),
    (
        Fault::TakesTooLarge,
        "payloads_are_limited_as_declared",
        &["a_batch_is_answered_item_by_item"],
    ),
    (
        Fault::TakesTooLong,
        "names_are_limited_as_declared",
        &["a_batch_is_answered_item_by_item"],
    ),
    (
        Fault::LeaksAcrossSpaces,
        "spaces_never_hear_each_other",
        &[],
    ),
    (
        Fault::NamesOutsiders,
        "outside_messages_arrive_as_they_are",
        &[],
    ),
    (
        Fault::HasNoPositions,
        "positions_are_as_declared",
        &["history_is_as_declared"],
    ),
    (Fault::KeepsProgressToItself, "progress_is_as_declared", &[]),
    (Fault::ReadsInclusively, "history_is_as_declared", &[]),
    (
        Fault::PromisesHistory,
        "history_is_as_declared",
        &["trimmed_history_is_said"],
    ),
    (Fault::HidesTheTrim, "trimmed_history_is_said", &[]),
    (Fault::IgnoresClose, "close_ends_everything", &[]),
    (
        Fault::AcknowledgesBeforeStoring,
        "close_ends_everything",
        &[],
    ),
    (Fault::ClosesOnceReadOnly, "close_works_while_blocked", &[]),
    (
        Fault::HangsInTheSecondClose,
        "close_works_twice_at_once",
        &["close_ends_everything"],
    ),
    (
        Fault::BlamesTheAddress,
        "an_absent_broker_is_said_in_time",
        &[],
    ),
    (Fault::OpensAnything, "wrong_addresses_are_refused", &[]),
    (Fault::ShowsThePassword, "wrong_addresses_are_refused", &[]),
    (
        Fault::PromisesDelivery,
        "a_restart_is_survived",
        &["a_kill_is_survived"],
    ),
    (
        Fault::RepeatsOnReconnect,
        "a_restart_is_survived",
        &["a_kill_is_survived"],
    ),
    (
        Fault::HidesTheGap,
        "a_kill_is_survived",
        &["a_restart_is_survived"],
    ),
    (
        Fault::AnnouncesLate,
        "a_kill_is_survived",
        &["a_restart_is_survived"],
    ),
    (
        Fault::AcknowledgesWithoutBroker,
        "publishing_without_a_broker_is_answered",
        &["interest_without_a_broker_is_kept"],
    ),
    (
        Fault::StoresWhatItRefuses,
        "publishing_without_a_broker_is_answered",
        &["a_kill_is_survived", "a_restart_is_survived"],
    ),
    (
        Fault::ForgetsInterestOnReconnect,
        "a_restart_is_survived",
        &[
            "a_kill_is_survived",
            "publishing_without_a_broker_is_answered",
            "interest_without_a_broker_is_kept",
        ],
    ),
    (
        Fault::ForgetsInterestWhileDown,
        "interest_without_a_broker_is_kept",
        &[],
    ),
];

/// Runs every case on the sound backend and on each broken one. Returns how each ended: `None` if it passed.
fn verdicts() -> Vec<(Option<Fault>, Case, Option<String>)> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let room = Arc::new(Semaphore::new(TOGETHER));
        let mut running = JoinSet::new();
        let sound = std::iter::once(None);
        for fault in sound.chain(CAUGHT.iter().map(|caught| Some(caught.0))) {
            // A broker for each run, so that no case sees what another one left.
            for case in cases() {
                let room = Arc::clone(&room);
                running.spawn(async move {
                    let _place = room.acquire_owned().await.expect("never closed");
                    // Of its own, since the panic ends the task.
                    let run = async move { case.run(&Broken::new(fault)).await };
                    let failed = tokio::spawn(run).await.err();
                    (fault, case, failed.map(message))
                });
            }
        }
        running.join_all().await
    })
}

/// The words of the panic that ended a task.
fn message(failed: tokio::task::JoinError) -> String {
    let panic = failed.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_default()
}

#[test]
fn each_mutant_is_caught_by_its_case_and_the_sound_one_passes() {
    // Most of these panics are what is asked for.
    panic::set_hook(Box::new(|_| {}));
    let verdicts = verdicts();
    drop(panic::take_hook());
    let mut wrong = Vec::new();
    for (fault, case, said) in verdicts {
        // The sound backend is in no row, so no case may fail it.
        let caught = CAUGHT.iter().find(|caught| Some(caught.0) == fault);
        let fails =
            caught.is_some_and(|(_, by, also)| *by == case.name || also.contains(&case.name));
        let name = case.name;
        match (fails, said) {
            (true, None) => wrong.push(format!("{fault:?} passes {name}")),
            (false, Some(said)) => wrong.push(format!("{fault:?} fails {name}: {said}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A case that no fault fails may test nothing.
#[test]
fn each_case_has_a_mutant() {
    let names: BTreeSet<_> = cases().iter().map(|case| case.name).collect();
    let meant: BTreeSet<_> = CAUGHT.iter().map(|caught| caught.1).collect();
    assert_eq!(names, meant);
}
