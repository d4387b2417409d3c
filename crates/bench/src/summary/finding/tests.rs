//! Sentences must say no more than the ranges allow.
use super::*;
use crate::sample::run;

/// What is said of the first scenario.
fn progress(merged: &Merged) -> Vec<String> {
    findings(merged, &merged.scenarios[0])
}

#[test]
fn the_best_stands_beside_the_others() {
    let merged = Merged::from(run());
    let all = progress(&merged);
    assert!(
        all[0].starts_with("Median latency (p50): kafka takes ")
            && all[0].ends_with("times as long as redis."),
        "{all:?}"
    );
    assert!(all[2].contains("kafka costs "), "{all:?}");
    assert!(
        all[3].starts_with("Highest rate: redis and kafka can't be told apart"),
        "{all:?}"
    );
    assert!(all[4].contains("broker alone: redis "), "{all:?}");
    // It does not do a broker's work.
    assert!(!all.concat().contains("memory"), "{all:?}");
    // Three pairs of three backends, for each of four matters.
    let pairs = pairs(&merged, &merged.scenarios[0]);
    assert_eq!(pairs.len(), 12);
    let holds = |it: &String| it.contains("memory holds ") && it.contains(" the rate of kafka");
    assert!(pairs.iter().any(holds), "{pairs:?}");
}

#[test]
fn what_overlaps_is_said_in_plain_words() {
    // Two backends with the very same figures.
    let mut run = run();
    run.backends[0] = run.backends[1].clone();
    run.backends[0].name = "amqp".to_owned();
    let all = progress(&run.into());
    assert!(
        all[0].ends_with("amqp and redis can't be told apart by these runs."),
        "{all:?}"
    );
    assert!(all[0].contains("kafka takes "), "{all:?}");
}

#[test]
fn one_round_says_nothing_of_noise() {
    // One round has no range, so nothing can be said of latency and CPU.
    let mut run = run();
    for backend in &mut run.backends {
        backend
            .scenarios
            .get_mut("progress")
            .unwrap()
            .rounds
            .truncate(1);
    }
    let all = progress(&run.into());
    assert!(all[0].contains("one round only"), "{all:?}");
    // The ladder brackets the highest rate by itself.
    assert!(
        all[3].starts_with("Highest rate: redis and kafka can't be told apart"),
        "{all:?}"
    );
}

#[test]
fn runs_of_two_machines_are_compared_each_for_itself() {
    // Only memory is measured in both runs; redis and kafka never met on one machine.
    let (mut slow, mut fast) = (run(), run());
    slow.backends.truncate(2);
    fast.started += 1;
    fast.machine.cores = 64;
    fast.backends.remove(1);
    let all = progress(&Merged::from(slow).with(fast.into()).unwrap());
    assert!(
        all[0].contains("redis (150 µs) and kafka (880 µs) were never measured in one run"),
        "{all:?}"
    );
}

#[test]
fn a_backend_of_one_process_is_compared_with_its_like() {
    // Without a broker to speak of, backends of one process are compared with each other.
    let mut run = run();
    run.backends.truncate(1);
    run.backends.push(run.backends[0].clone());
    run.backends[1].name = "memory slowed".to_owned();
    let all = progress(&run.into());
    assert!(
        all[0].ends_with("memory and memory slowed can't be told apart by these runs."),
        "{all:?}"
    );
}

#[test]
fn words_are_listed_as_one_says_them() {
    assert_eq!(list(&["a"]), "a");
    assert_eq!(list(&["a", "b", "c"]), "a, b and c");
}
