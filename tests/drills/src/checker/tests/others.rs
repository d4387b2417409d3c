//! Repeated, reordered, made up, dishonest; healing and unavailability.

use super::*;

#[test]
fn twice_on_a_connection_is_repeated() {
    let mut lines = all();
    lines.push((at(3), message(2)));
    let verdict = judge(lines);
    assert_eq!((verdict.repeated, verdict.repeated_raw), (1, 1));
}

fn again(recovered: bool, id: &str) -> Verdict {
    let mut lines = all();
    lines.extend([
        (at(3) + MS, closed()),
        (at(3) + 2 * MS, connected()),
        (at(3) + 3 * MS, subscribed(recovered, true)),
        (at(3) + 4 * MS, message_as(3, 21, id)),
    ]);
    judge(lines)
}

#[test]
fn after_a_resume_the_id_tells_repetitions() {
    let same = again(true, "p-3");
    assert_eq!((same.repeated, same.repeated_raw), (0, 1));
    assert_eq!(again(true, "other").repeated, 1);
}

#[test]
fn after_a_refused_resume_a_session_begins_anew() {
    let verdict = again(false, "other");
    assert_eq!((verdict.repeated, verdict.repeated_raw), (0, 0));
}

#[test]
fn swapped_is_reordered() {
    let verdict = judge(vec![
        (at(1), message(1)),
        (at(3), message(3)),
        (at(3), message(2)),
    ]);
    assert_eq!((verdict.reordered, verdict.lost_silent), (1, 0));
}

#[test]
fn what_was_under_way_together_may_cross() {
    let lines = vec![
        (S, publish(1)),
        (S + 5 * MS, publish(2)),
        (S + 6 * MS, ack(2)),
        (S + 9 * MS, ack(1)),
    ];
    let verdict = judge_with(
        &log("publisher-p", lines),
        vec![(at(1), message(2)), (at(1), message(1))],
        Vec::new(),
    );
    assert_eq!(verdict.reordered, 0);
}

#[test]
fn within_one_request_the_order_counts() {
    let lines = vec![
        (S, publish(1)),
        (S, publish(2)),
        (S + 6 * MS, ack(2)),
        (S + 9 * MS, ack(1)),
    ];
    let verdict = judge_with(
        &log("publisher-p", lines),
        vec![(at(1), message(2)), (at(1), message(1))],
        Vec::new(),
    );
    assert_eq!(verdict.reordered, 1);
}

#[test]
fn other_bytes_and_unknown_numbers_are_phantoms() {
    let phantom = |what| {
        let mut lines = all();
        lines.push((at(3), what));
        judge(lines).phantom
    };
    assert_eq!(phantom(message(9)), 1);
    assert_eq!(phantom(message_as(2, 1, "p-2")), 1);
    assert_eq!(
        phantom(What::Foreign {
            channel: "a".to_owned(),
            text: "?".to_owned()
        }),
        1
    );
    let elsewhere = What::Message {
        channel: "b".to_owned(),
        publisher: "p".to_owned(),
        seq: 1,
        hash: 7,
        id: "p-1".to_owned(),
    };
    assert_eq!(phantom(elsewhere), 1);
}

#[test]
fn a_message_on_a_channel_that_is_not_subscribed_is_a_phantom() {
    let verdict = judge(vec![
        (at(1), closed()),
        (at(1), connected()),
        (at(1), message(1)),
    ]);
    assert_eq!(verdict.phantom, 1);
}

#[test]
fn refused_and_delivered_is_dishonest() {
    let refused = What::Refused {
        publisher: "p".to_owned(),
        seq: 1,
    };
    let publisher = log("publisher-p", vec![(S, publish(1)), (S + MS, refused)]);
    assert_eq!(
        judge_with(&publisher, vec![(at(1), message(1))], Vec::new()).dishonest,
        1
    );
    let verdict = judge_with(&publisher, Vec::new(), Vec::new());
    assert_eq!(
        (verdict.dishonest, verdict.refused, verdict.lost_silent),
        (0, 1, 0)
    );
}

#[test]
fn accepted_by_a_dead_broker_is_dishonest() {
    let dead = |begin| {
        vec![
            (begin, fault(Phase::Begin)),
            (10 * S, fault(Phase::Mend)),
            (11 * S, fault(Phase::End)),
        ]
    };
    assert_eq!(
        judge_with(&three(), all(), dead(2 * S + 500 * MS)).dishonest,
        1
    );
    assert_eq!(judge_with(&three(), all(), dead(4 * S)).dishonest, 0);
}

#[test]
fn unanswered_may_come_or_not() {
    let unknown = What::Unknown {
        publisher: "p".to_owned(),
        seq: 1,
    };
    let publisher = log("publisher-p", vec![(S, publish(1)), (S + MS, unknown)]);
    for lines in [Vec::new(), vec![(at(1), message(1))], vec![(at(1), gap())]] {
        let verdict = judge_with(&publisher, lines, Vec::new());
        assert_eq!(
            (
                verdict.unknown,
                verdict.lost_silent,
                verdict.dishonest,
                verdict.false_gaps
            ),
            (1, 0, 0, 0)
        );
    }
}

#[test]
fn native_losses_are_counted_apart() {
    let native = What::Publish {
        channel: "a".to_owned(),
        publisher: "p".to_owned(),
        seq: 1,
        hash: 7,
        native: true,
    };
    let publisher = log("publisher-p", vec![(S, native), (S + MS, ack(1))]);
    let verdict = judge_with(&publisher, Vec::new(), Vec::new());
    assert_eq!((verdict.lost_silent, verdict.lost_silent_native), (0, 1));
}

fn healed(t: u64) -> Verdict {
    let faults = vec![
        (1500 * MS, fault(Phase::Begin)),
        (1600 * MS, fault(Phase::Mend)),
        (1700 * MS, fault(Phase::End)),
    ];
    let client = vec![(at(1), message(1)), (t, message(2)), (t, message(3))];
    judge_with(&three(), client, faults)
}

#[test]
fn healing_is_the_first_new_message_after_a_fault() {
    assert_eq!(
        (healed(at(3)).heal_ms.max, healed(at(3)).unhealed),
        (1320, 0)
    );
    assert_eq!(healed(at(15)).unhealed, 1);
}

#[test]
fn holes_between_acknowledgements_are_unavailability() {
    assert!((judge(all()).unavailable_s - 0.0).abs() < 0.001);
    let lines = vec![
        (S, publish(1)),
        (S + MS, ack(1)),
        (2 * S, publish(2)),
        (4 * S, ack(2)),
    ];
    let verdict = judge_with(&log("publisher-p", lines), Vec::new(), Vec::new());
    assert!((verdict.unavailable_s - 2.999).abs() < 0.001);
}

#[test]
fn a_client_that_does_not_keep_up_is_told_when_it_gets_there() {
    let slow = |first| {
        judge(vec![
            (first, message(1)),
            (30 * S, closed()),
            (30 * S, connected()),
            (30 * S, subscribed(false, true)),
        ])
    };
    assert_eq!(slow(29 * S).announced, 2);
    assert_eq!(slow(at(1)).lost_silent, 2);
}
