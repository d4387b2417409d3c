//! Logs made by hand: each count, where it must be and where it must not.

use super::{Checker, Log, Phase, Record, Verdict, What};

const MS: u64 = 1000;
const S: u64 = 1_000_000;

fn log(who: &str, lines: Vec<(u64, What)>) -> Log {
    let records = lines
        .into_iter()
        .map(|(t, what)| Record { t, what })
        .collect();
    Log {
        who: who.to_owned(),
        records,
    }
}

fn publish(seq: u64) -> What {
    What::Publish {
        channel: "a".to_owned(),
        publisher: "p".to_owned(),
        seq,
        hash: seq * 7,
        native: false,
    }
}

fn ack(seq: u64) -> What {
    What::Ack {
        publisher: "p".to_owned(),
        seq,
        tries: 1,
    }
}

fn message(seq: u64) -> What {
    message_as(seq, seq * 7, &format!("p-{seq}"))
}

fn message_as(seq: u64, hash: u64, id: &str) -> What {
    What::Message {
        channel: "a".to_owned(),
        publisher: "p".to_owned(),
        seq,
        hash,
        id: id.to_owned(),
    }
}

fn connected() -> What {
    What::Connected {
        hub: "h".to_owned(),
    }
}

fn subscribed(recovered: bool, since: bool) -> What {
    What::Subscribed {
        channel: "a".to_owned(),
        recovered,
        since,
    }
}

fn gap() -> What {
    What::Gap {
        channel: "a".to_owned(),
        cause: "connection_lost".to_owned(),
    }
}

fn closed() -> What {
    What::Closed { code: 1006 }
}

fn fault(phase: Phase) -> What {
    What::Fault {
        what: "broker".to_owned(),
        phase,
    }
}

/// Three messages a second apart, each accepted after 10 ms; the client is subscribed at 0.1 s.
fn three() -> Log {
    let lines = (1..=3).flat_map(|seq| [(seq * S, publish(seq)), (seq * S + 10 * MS, ack(seq))]);
    log("publisher-p", lines.collect())
}

fn judge(client: Vec<(u64, What)>) -> Verdict {
    judge_with(&three(), client, Vec::new())
}

fn judge_with(publisher: &Log, client: Vec<(u64, What)>, faults: Vec<(u64, What)>) -> Verdict {
    let mut lines = vec![(50 * MS, connected()), (100 * MS, subscribed(false, false))];
    lines.extend(client);
    let mut checker = Checker::new(std::slice::from_ref(publisher), &log("faults", faults));
    checker.client(&log("client-1", lines));
    checker.end()
}

fn at(seq: u64) -> u64 {
    seq * S + 20 * MS
}

fn all() -> Vec<(u64, What)> {
    (1..=3).map(|seq| (at(seq), message(seq))).collect()
}

#[test]
fn all_delivered_is_clean() {
    let verdict = judge(all());
    assert_eq!(
        (verdict.accepted, verdict.expected, verdict.delivered),
        (3, 3, 3)
    );
    let wrong = verdict.lost_silent + verdict.announced + verdict.repeated_raw + verdict.reordered;
    assert_eq!(
        wrong + verdict.phantom + verdict.dishonest + verdict.false_gaps,
        0
    );
    assert_eq!(verdict.latency_ms.max, 20);
    assert!(verdict.examples.is_empty());
}

#[test]
fn a_hole_is_silent() {
    let verdict = judge(vec![(at(1), message(1)), (at(3), message(3))]);
    assert_eq!(
        (verdict.lost_silent, verdict.announced, verdict.delivered),
        (1, 0, 2)
    );
    assert!(verdict.examples[0].starts_with("silent: client-1 on a: p 2"));
}

#[test]
fn a_lost_tail_is_silent() {
    assert_eq!(
        judge(vec![(at(1), message(1)), (at(2), message(2))]).lost_silent,
        1
    );
}

#[test]
fn a_gap_announces_what_was_sent_before_it() {
    let verdict = judge(vec![
        (at(1), message(1)),
        (at(3), gap()),
        (at(3), message(3)),
    ]);
    assert_eq!(
        (verdict.lost_silent, verdict.announced, verdict.false_gaps),
        (0, 1, 0)
    );
    assert_eq!(verdict.detect_ms.max, 1010);
}

#[test]
fn a_gap_does_not_announce_what_was_sent_after_it() {
    let verdict = judge(vec![
        (at(1), message(1)),
        (at(1), gap()),
        (at(3), message(3)),
    ]);
    assert_eq!(
        (verdict.lost_silent, verdict.announced, verdict.false_gaps),
        (1, 0, 1)
    );
}

#[test]
fn a_gap_comes_too_late_four_seconds_after_a_later_message() {
    let late = |t| judge(vec![(at(1), message(1)), (at(3), message(3)), (t, gap())]);
    assert_eq!(late(at(3) + 3 * S).lost_silent, 0);
    assert_eq!(late(at(3) + 4 * S).lost_silent, 1);
}

#[test]
fn a_gap_for_a_lost_tail_comes_too_late_after_a_quarter_of_a_minute() {
    let late = |t| judge(vec![(at(1), message(1)), (at(2), message(2)), (t, gap())]);
    assert_eq!(late(at(3) + 12 * S).announced, 1);
    assert_eq!(late(at(3) + 15 * S).lost_silent, 1);
}

#[test]
fn a_gap_may_wait_for_the_end_of_a_fault() {
    let client = || vec![(at(1), message(1)), (at(2), message(2)), (33 * S, gap())];
    let whole = vec![
        (3 * S, fault(Phase::Begin)),
        (30 * S, fault(Phase::Mend)),
        (31 * S, fault(Phase::End)),
    ];
    assert_eq!(judge_with(&three(), client(), whole).announced, 1);
    assert_eq!(judge(client()).lost_silent, 1);
}

#[test]
fn a_gap_without_a_loss_is_false() {
    let mut lines = all();
    lines.push((at(3) + S, gap()));
    let verdict = judge(lines);
    assert_eq!(
        (verdict.gaps, verdict.false_gaps, verdict.lost_silent),
        (1, 1, 0)
    );
}

#[test]
fn a_refused_resume_announces() {
    let away = |recovered| {
        judge(vec![
            (at(1), message(1)),
            (at(1) + MS, closed()),
            (at(2) + MS, connected()),
            (at(2) + 2 * MS, subscribed(recovered, true)),
            (at(3), message(3)),
        ])
    };
    assert_eq!((away(false).announced, away(false).lost_silent), (1, 0));
    assert_eq!((away(true).announced, away(true).lost_silent), (0, 1));
    assert_eq!((away(true).resumes, away(true).recovered), (1, 1));
}

#[test]
fn a_subscription_without_a_position_is_no_false_gap() {
    let mut lines = all();
    lines.extend([
        (at(3) + MS, closed()),
        (at(3) + 2 * MS, connected()),
        (at(3) + 3 * MS, subscribed(false, false)),
    ]);
    assert_eq!(judge(lines).gaps, 0);
}

#[test]
fn a_client_that_is_away_is_not_owed_anything_yet() {
    let verdict = judge(vec![(at(1), message(1)), (at(1) + MS, closed())]);
    assert_eq!((verdict.expected, verdict.lost_silent), (1, 0));
}

#[test]
fn what_was_sent_before_the_subscription_is_not_owed() {
    let mut checker = Checker::new(&[three()], &Log::default());
    let lines = vec![
        (S, connected()),
        (S + 500 * MS, subscribed(false, false)),
        (at(2), message(2)),
        (at(3), message(3)),
    ];
    checker.client(&log("client-1", lines));
    let verdict = checker.end();
    assert_eq!(
        (verdict.expected, verdict.delivered, verdict.lost_silent),
        (2, 2, 0)
    );
}

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
