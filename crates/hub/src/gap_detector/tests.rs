//! What the numbers tell.

use super::*;

const LANE: Sequence = Sequence::Lane(0);

fn of(number: u64) -> Origin {
    Origin { id: 9, number }
}

fn word(from: u64, up: u64) -> Option<Word> {
    let up = Duration::from_secs(up);
    let connected = None;
    Some(Word {
        from,
        up,
        connected,
    })
}

fn numbers(gap_detector: &mut GapDetector, sequence: &Sequence, numbers: &[u64]) -> Vec<Verdict> {
    let now = Instant::now();
    let check = |&n: &u64| gap_detector.check(sequence, of(n), None, now);
    numbers.iter().map(check).collect()
}

#[test]
fn contiguous_numbers_are_next_and_old_ones_repeated() {
    use Verdict::{Next, Repeated};
    let got = numbers(&mut GapDetector::default(), &LANE, &[5, 6, 6, 5, 7]);
    assert_eq!(got, [Next, Next, Repeated, Repeated, Next]);
}

#[test]
fn a_jump_is_what_is_missing_and_is_told_once() {
    let got = numbers(&mut GapDetector::default(), &LANE, &[1, 4, 5]);
    assert_eq!(got[1], Verdict::Missing { from: 2, to: 3 });
    assert_eq!(got[2], Verdict::Next);
}

#[test]
fn a_beacon_stands_for_the_numbers_that_were_given_up() {
    let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
    numbers(&mut gap_detector, &LANE, &[1]);
    assert_eq!(
        gap_detector.check(&LANE, of(5), word(2, 9), now),
        Verdict::Next
    );
    assert_eq!(
        gap_detector.check(&LANE, of(3), None, now),
        Verdict::Repeated
    );
    let missing = Verdict::Missing { from: 6, to: 7 };
    assert_eq!(gap_detector.check(&LANE, of(9), word(8, 9), now), missing);
}

/// A beacon of an origin that has been running for so many seconds and connected for so many.
fn beacon(number: u64, up: u64, connected: u64) -> Option<Word> {
    let connected = Some(Duration::from_secs(connected));
    Some(Word {
        connected,
        ..word(number, up).unwrap()
    })
}

/// A loss was announced ten seconds after the start; then number 5 comes instead of 2, a second later.
fn forgiven() -> (GapDetector, Instant) {
    let (mut gap_detector, start) = (GapDetector::default(), Instant::now());
    gap_detector.check(&LANE, of(1), beacon(1, 100, 100), start);
    gap_detector.forgive(&Scope::Lane(0), start + Duration::from_secs(10));
    let seen = start + Duration::from_secs(11);
    let verdict = gap_detector.check(&LANE, of(5), None, seen);
    assert_eq!(verdict, Verdict::Next, "it is judged with the next beacon");
    (gap_detector, seen)
}

#[test]
fn an_announced_loss_is_not_told_again() {
    let (mut gap_detector, seen) = forgiven();
    // Its origin has been connected all the time: what came after the announcement has arrived.
    gap_detector.check(&LANE, of(6), beacon(6, 111, 111), seen);
    assert!(gap_detector.settle(seen).is_empty());
    assert!(gap_detector.settle(seen + 2 * doubts::PATIENCE).is_empty());
    let missing = Verdict::Missing { from: 7, to: 7 };
    assert_eq!(gap_detector.check(&LANE, of(8), None, seen), missing);
}

#[test]
fn a_hole_that_comes_after_the_announced_loss_is_told() {
    let (mut gap_detector, seen) = forgiven();
    // It came to this broker half a second ago, after the announcement: it published elsewhere before.
    let later = seen + Duration::from_millis(500);
    gap_detector.check(&LANE, of(6), beacon(6, 111, 0), later);
    let told = gap_detector.settle(later);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].sequence, told[0].first), (&LANE, of(2)));
    assert!(gap_detector.settle(later).is_empty(), "once");
}

#[test]
fn a_hole_that_nobody_explains_is_told() {
    let (mut gap_detector, seen) = forgiven();
    // A beacon that was on its way before its origin lost its broker says nothing.
    let late = seen + Duration::from_secs(2);
    gap_detector.check(&LANE, of(6), beacon(6, 108, 108), late);
    assert!(gap_detector.settle(late).is_empty());
    assert_eq!(gap_detector.settle(seen + doubts::PATIENCE).len(), 1);
}

#[test]
fn another_announcement_covers_what_was_in_doubt() {
    let (mut gap_detector, seen) = forgiven();
    gap_detector.forgive(&Scope::All, seen);
    assert!(gap_detector.settle(seen + 2 * doubts::PATIENCE).is_empty());
}

#[test]
fn a_young_origin_must_be_heard_from_its_first_number() {
    let (mut gap_detector, start) = (GapDetector::default(), Instant::now());
    let other = Origin { id: 1, number: 1 };
    gap_detector.check(&LANE, other, None, start);
    let later = start + Duration::from_secs(60);
    assert_eq!(gap_detector.check(&LANE, of(3), None, later), Verdict::Next);
    let missing = Verdict::Missing { from: 1, to: 2 };
    assert_eq!(gap_detector.check(&LANE, of(4), word(4, 2), later), missing);
    assert_eq!(
        gap_detector.check(&LANE, of(5), word(5, 3), later),
        Verdict::Next
    );
    // One that ran before this instance listened may have any number.
    let old = Origin { id: 2, number: 70 };
    assert_eq!(
        gap_detector.check(&LANE, old, word(70, 99), later),
        Verdict::Next
    );
}

#[test]
fn a_channels_count_may_begin_anew_after_a_silence() {
    let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
    let sequence = Sequence::Channel("c".into());
    assert_eq!(
        gap_detector.check(&sequence, of(8), None, now),
        Verdict::Next
    );
    assert_eq!(
        gap_detector.check(&sequence, of(1), None, now),
        Verdict::Repeated
    );
    let later = now + RESTART;
    assert_eq!(
        gap_detector.check(&sequence, of(1), None, later),
        Verdict::Next
    );
    assert_eq!(
        gap_detector.check(&sequence, of(2), None, later),
        Verdict::Next
    );
}

#[test]
fn a_count_that_began_anew_is_seen_although_its_first_number_is_lost() {
    let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
    let sequence = Sequence::Channel("c".into());
    gap_detector.check(&sequence, of(8), None, now);
    let later = now + RESTART;
    let missing = Verdict::Missing { from: 1, to: 1 };
    assert_eq!(gap_detector.check(&sequence, of(2), None, later), missing);
    let next = gap_detector.check(&sequence, of(3), None, later);
    assert_eq!(next, Verdict::Next);
}

#[test]
fn made_up_origins_are_bounded() {
    let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
    for id in 0..10 * MOST_ORIGINS as u128 {
        let later = now + Duration::from_millis(id as u64);
        gap_detector.check(&LANE, of(1), None, later);
        let origin = Origin {
            id: 100 + id,
            number: 1,
        };
        gap_detector.check(&LANE, origin, None, later);
    }
    assert_eq!(gap_detector.sequences[&LANE].origins.len(), MOST_ORIGINS);
}

#[test]
fn a_channels_lost_tail_is_seen_by_the_beacon_once() {
    let (mut gap_detector, now) = (GapDetector::default(), Instant::now());
    let sequence = Sequence::Channel("c".into());
    gap_detector.check(&sequence, of(8), None, now);
    assert!(!gap_detector.is_short(&sequence, 9, 8));
    assert!(gap_detector.is_short(&sequence, 9, 9));
    assert!(!gap_detector.is_short(&sequence, 9, 9));
    assert!(!gap_detector.is_short(&Sequence::Channel("other".into()), 9, 1));
}
