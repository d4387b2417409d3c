//! What holds, and what must not.

use stateright::{Checker, Model};

use super::{Faults, Mechanism};

fn faults(mechanism: Mechanism) -> Faults {
    Faults {
        mechanism,
        receivers: 1,
        messages: 2,
        beacons: 1,
        drops: 1,
        repeats: 1,
        rollbacks: 1,
        given_up: 2,
        restarts: 1,
    }
}

fn holds(model: Faults, depth: usize) {
    let checker = model
        .checker()
        .threads(2)
        .target_max_depth(depth)
        .spawn_bfs()
        .join();
    checker.assert_no_discovery("nothing is lost in silence");
    checker.assert_no_discovery("nothing comes twice");
    checker.assert_no_discovery("each origin's order is kept");
    assert!(
        checker.discovery("a loss is announced").is_some(),
        "or it proves nothing"
    );
    assert!(
        checker.unique_state_count() > 10_000,
        "{}",
        checker.unique_state_count()
    );
}

#[test]
fn numbers_and_beacons_lose_nothing_in_silence() {
    holds(faults(Mechanism::NumbersAndBeacons), 12);
}

#[test]
fn nor_do_they_with_two_receivers() {
    let model = Faults {
        receivers: 2,
        messages: 1,
        given_up: 0,
        ..faults(Mechanism::NumbersAndBeacons)
    };
    holds(model, 11);
}

#[test]
fn numbers_without_beacons_lose_a_tail_in_silence() {
    let checker = faults(Mechanism::NumbersAlone).checker().spawn_bfs().join();
    assert!(checker.discovery("nothing is lost in silence").is_some());
}

#[test]
fn offsets_alone_lose_in_silence_and_repeat() {
    let checker = faults(Mechanism::OffsetsAlone).checker().spawn_bfs().join();
    assert!(checker.discovery("nothing is lost in silence").is_some());
}
