use tokio::sync::oneshot;

use super::*;
use crate::{beacon::CHANNEL, publisher::ReplyTo};

const LANE: Sequence = Sequence::Lane(0);
const SOON: Duration = Duration::from_secs(5);

fn error(kind: ErrorKind) -> Result<Receipt> {
    Err(Error::new(kind, "test", "as told"))
}

/// A round that begins at `now` with one job for each of the messages, which end after so many
/// seconds.
fn round(books: &mut Books, sequence: &Sequence, seconds: &[u64], now: Instant) -> InFlightBatch {
    let mut round = InFlightBatch::new(now, SOON);
    for (n, seconds) in seconds.iter().enumerate() {
        let owner = (books.open(ReplyTo::Caller(oneshot::channel().0), 1, 0), 0);
        let place = Place {
            sequence: sequence.clone(),
            beacons: CHANNEL.into(),
            owner,
            deadline: now + Duration::from_secs(*seconds),
        };
        round.add(books, place, Outgoing::new("c", n.to_string()));
    }
    round
}

/// Number, and whether it is a beacon and from where.
fn batch(round: &InFlightBatch) -> Vec<(u64, Option<u64>)> {
    let told = |outgoing: &Outgoing| {
        let beacon = Beacon::decode(&outgoing.data);
        let number = outgoing.origin.unwrap().number;
        (number, beacon.map(|(beacon, _)| beacon.word().from))
    };
    round.batch().iter().map(told).collect()
}

fn answer(
    round: &mut InFlightBatch,
    books: &mut Books,
    answers: Vec<Result<Receipt>>,
) -> Vec<Option<ErrorKind>> {
    let done = round.answers(answers, books, |_, _| {});
    let kind = |answered: Answered| answered.answers.into_iter().next().unwrap().err();
    done.into_iter()
        .map(|answered| kind(answered).map(|error| error.kind()))
        .collect()
}

#[test]
fn what_fails_is_tried_again_with_its_number_and_all_behind_it() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[5, 5, 5], now);
    let answers = vec![
        Ok(Receipt::Accepted),
        error(ErrorKind::Unknown),
        error(ErrorKind::Unavailable),
    ];
    assert_eq!(answer(&mut round, &mut books, answers), [None]);
    assert_eq!(batch(&round), [(2, None), (3, None)]);
    let answers = vec![Ok(Receipt::Accepted), Ok(Receipt::Accepted)];
    assert_eq!(answer(&mut round, &mut books, answers), [None, None]);
    assert!(batch(&round).is_empty());
}

#[test]
fn what_may_be_stored_is_never_said_to_be_surely_not() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[1], now);
    answer(&mut round, &mut books, vec![error(ErrorKind::Unknown)]);
    answer(&mut round, &mut books, vec![error(ErrorKind::Unavailable)]);
    let late = now + Duration::from_secs(2);
    let done = round.expire(late, &mut books).remove(0).answers.remove(0);
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Unknown);
}

#[test]
fn what_was_overtaken_is_answered_and_not_tried_again() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[5, 5], now);
    let answers = vec![error(ErrorKind::Unknown), Ok(Receipt::Accepted)];
    assert_eq!(
        answer(&mut round, &mut books, answers),
        [Some(ErrorKind::Unknown), None]
    );
    assert!(batch(&round).is_empty());
    assert_eq!(books.sequencer.open(&LANE), Some(1));
}

#[test]
fn a_beacon_takes_the_place_of_what_is_out_of_time() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[1, 9], now);
    let now = now + Duration::from_secs(2);
    assert_eq!(round.expire(now, &mut books).len(), 1);
    assert_eq!(batch(&round), [(1, Some(1)), (2, None)]);
    // And nothing does once nobody waits behind it: the next round's first message is a beacon.
    assert_eq!(
        round.expire(now + Duration::from_secs(9), &mut books).len(),
        1
    );
    assert!(batch(&round).is_empty());
    let next = self::round(&mut books, &LANE, &[5], now);
    assert_eq!(batch(&next), [(3, Some(1)), (4, None)]);
}

#[test]
fn a_channel_that_counts_for_itself_gets_no_beacons() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let sequence = Sequence::Channel("c".into());
    let mut round = round(&mut books, &sequence, &[1, 9], now);
    round.expire(now + Duration::from_secs(2), &mut books);
    assert_eq!(batch(&round), [(2, None)]);
}

#[test]
fn a_broker_that_answers_less_than_it_was_given_has_answered_unknown() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[5, 5], now);
    assert_eq!(answer(&mut round, &mut books, Vec::new()), []);
    assert_eq!(batch(&round), [(1, None), (2, None)]);
    assert_eq!(round.retried, 2);
}

#[test]
fn a_rejected_one_is_answered_at_once() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[5], now);
    let answers = vec![error(ErrorKind::Rejected)];
    assert_eq!(
        answer(&mut round, &mut books, answers),
        [Some(ErrorKind::Rejected)]
    );
    assert_eq!(books.sequencer.open(&LANE), Some(1));
}

#[test]
fn a_beacon_that_fails_leaves_all_open_that_it_stood_for() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    round(&mut books, &LANE, &[5, 5], now);
    books.sequencer.give_up(&LANE, 1);
    for number in [3, 4] {
        let mut round = InFlightBatch::new(now, SOON);
        round.beacon(&mut books.sequencer, &LANE, CHANNEL.into(), |_| {});
        assert_eq!(batch(&round), [(number, Some(1))]);
        answer(&mut round, &mut books, vec![error(ErrorKind::Unavailable)]);
        round.expire(now, &mut books);
        assert!(batch(&round).is_empty());
        assert_eq!(books.sequencer.open(&LANE), Some(1));
    }
}

#[test]
fn a_batch_waits_as_long_as_the_first_that_somebody_waits_for() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = round(&mut books, &LANE, &[9, 5], now);
    round.beacon(&mut books.sequencer, &LANE, CHANNEL.into(), |_| {});
    let seconds = |round: &InFlightBatch| round.first_deadline().map(|it| (it - now).as_secs());
    assert_eq!(
        seconds(&round),
        Some(5),
        "the beacon's own second is passed over"
    );
    // At its deadline a message is out of time, and not before.
    let soon = now + Duration::from_secs(5);
    assert!(
        round
            .expire(soon - Duration::from_millis(1), &mut books)
            .is_empty()
    );
    assert_eq!(round.expire(soon, &mut books).len(), 1);
    assert_eq!(seconds(&round), Some(9));
}

#[test]
fn a_batch_of_beacons_alone_has_its_own_time() {
    let (mut books, now) = (Books::new(Sequencer::new(1, 100)), Instant::now());
    let mut round = InFlightBatch::new(now, SOON);
    assert_eq!(round.first_deadline(), None, "nothing to wait for");
    round.beacon(&mut books.sequencer, &LANE, CHANNEL.into(), |_| {});
    assert_eq!(round.first_deadline(), Some(now + ALONE));
}
