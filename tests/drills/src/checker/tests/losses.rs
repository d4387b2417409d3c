//! Delivered, announced, or lost in silence.

use super::*;

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
fn a_client_that_read_nothing_is_told_when_it_reads_again() {
    let deaf = |awake: bool| {
        let mut lines = vec![(at(1), message(1))];
        if awake {
            lines.push((29 * S, What::Awake));
        }
        lines.extend([
            (29 * S, closed()),
            (30 * S, connected()),
            (30 * S, subscribed(false, true)),
        ]);
        judge(lines)
    };
    assert_eq!(deaf(true).announced, 2);
    assert_eq!(deaf(false).lost_silent, 2);
}
