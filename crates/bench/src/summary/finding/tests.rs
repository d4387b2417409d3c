use super::*;
use crate::sample::run;

fn progress(merged: &Merged) -> Vec<String> {
    findings(merged, &merged.scenarios[0])
}

#[test]
fn the_best_stands_beside_the_others() {
    let merged = Merged::from(run());
    let all = progress(&merged);
    assert!(
        all[0].starts_with("Delivery, the median: memory is ")
            && all[0].contains("as fast as redis and "),
        "{all:?}"
    );
    assert!(all[2].contains("a delivery costs the hubs"), "{all:?}");
    assert!(all[3].contains("memory holds "), "{all:?}");
    assert!(all[4].contains("times redis's"), "{all:?}");
    // Three pairs of three backends.
    assert_eq!(pairs(&merged, &merged.scenarios[0]).len(), 12);
}

#[test]
fn what_overlaps_is_said_in_plain_words() {
    let mut run = run();
    run.backends[1].scenarios = run.backends[0].scenarios.clone();
    let all = progress(&run.into());
    assert!(
        all[0].ends_with("memory and redis can't be told apart by these runs."),
        "{all:?}"
    );
    assert!(all[0].contains("memory is "), "{all:?}");
}

#[test]
fn one_round_says_nothing_of_noise() {
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
    assert!(all[3].contains("memory holds "), "{all:?}");
}

#[test]
fn runs_of_two_machines_are_compared_each_for_itself() {
    let (mut slow, mut fast) = (run(), run());
    slow.backends.truncate(2);
    fast.started += 1;
    fast.machine.cores = 64;
    fast.backends.remove(0);
    let all = progress(&Merged::from(slow).with(fast.into()).unwrap());
    assert!(
        all[0].contains("memory (73.0 µs) and kafka (880 µs) were never measured in one run"),
        "{all:?}"
    );
}

#[test]
fn words_are_listed_as_one_says_them() {
    assert_eq!(list(&["a"]), "a");
    assert_eq!(list(&["a", "b", "c"]), "a, b and c");
}
