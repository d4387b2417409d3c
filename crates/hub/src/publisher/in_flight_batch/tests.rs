use tokio::sync::oneshot;

use super::*;
use crate::publisher::ReplyTo;

const LANE: Sequence = Sequence::Lane(0);
const SOON: Duration = Duration::from_secs(5);

fn error(kind: ErrorKind) -> Result<Receipt> {
    Err(Error::new(kind, "test", "as told"))
}

/// A round with one job for each of the messages, which end after so many seconds.
fn round(books: &mut Books, sequence: &Sequence, seconds: &[u64]) -> InFlightBatch {
    let mut round = InFlightBatch::new(SOON);
    for (n, seconds) in seconds.iter().enumerate() {
        let owner = (books.open(ReplyTo::Caller(oneshot::channel().0), 1, 0), 0);
        let place = Place {
            sequence: sequence.clone(),
            beacons: "$hubplane/beacon".into(),
            owner,
            deadline: Instant::now() + Duration::from_secs(*seconds),
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
    let mut books = Books::new(Sequencer::new(1, 100));
    let mut round = round(&mut books, &LANE, &[5, 5, 5]);
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
    let mut books = Books::new(Sequencer::new(1, 100));
    let mut round = round(&mut books, &LANE, &[1]);
    answer(&mut round, &mut books, vec![error(ErrorKind::Unknown)]);
    answer(&mut round, &mut books, vec![error(ErrorKind::Unavailable)]);
    let late = Instant::now() + Duration::from_secs(2);
    let done = round.expire(late, &mut books).remove(0).answers.remove(0);
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Unknown);
}

#[test]
fn what_was_overtaken_is_answered_and_not_tried_again() {
    let mut books = Books::new(Sequencer::new(1, 100));
    let mut round = round(&mut books, &LANE, &[5, 5]);
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
    let mut books = Books::new(Sequencer::new(1, 100));
    let mut round = round(&mut books, &LANE, &[1, 9]);
    let now = Instant::now() + Duration::from_secs(2);
    assert_eq!(round.expire(now, &mut books).len(), 1);
    assert_eq!(batch(&round), [(1, Some(1)), (2, None)]);
    // And nothing does once nobody waits behind it: the next round's first message is a beacon.
    assert_eq!(
        round.expire(now + Duration::from_secs(9), &mut books).len(),
        1
    );
    assert!(batch(&round).is_empty());
    let next = self::round(&mut books, &LANE, &[5]);
    assert_eq!(batch(&next), [(3, Some(1)), (4, None)]);
}

#[test]
fn a_channel_that_counts_for_itself_gets_no_beacons() {
    let mut books = Books::new(Sequencer::new(1, 100));
    let sequence = Sequence::Channel("c".into());
    let mut round = round(&mut books, &sequence, &[1, 9]);
    round.expire(Instant::now() + Duration::from_secs(2), &mut books);
    assert_eq!(batch(&round), [(2, None)]);
}

#[test]
fn a_broker_that_answers_less_than_it_was_given_has_answered_unknown() {
    let mut books = Books::new(Sequencer::new(1, 100));
    let mut round = round(&mut books, &LANE, &[5, 5]);
    assert_eq!(answer(&mut round, &mut books, Vec::new()), []);
    assert_eq!(batch(&round), [(1, None), (2, None)]);
    assert_eq!(round.retried, 2);
}

#[test]
fn a_rejected_one_is_answered_at_once() {
    let mut books = Books::new(Sequencer::new(1, 100));
    let mut round = round(&mut books, &LANE, &[5]);
    let answers = vec![error(ErrorKind::Rejected)];
    assert_eq!(
        answer(&mut round, &mut books, answers),
        [Some(ErrorKind::Rejected)]
    );
    assert_eq!(books.sequencer.open(&LANE), Some(1));
}

#[test]
fn a_beacon_that_fails_leaves_all_open_that_it_stood_for() {
    let mut books = Books::new(Sequencer::new(1, 100));
    round(&mut books, &LANE, &[5, 5]);
    books.sequencer.give_up(&LANE, 1);
    for number in [3, 4] {
        let mut round = InFlightBatch::new(SOON);
        round.beacon(
            &mut books.sequencer,
            &LANE,
            "$hubplane/beacon".into(),
            |_| {},
        );
        assert_eq!(batch(&round), [(number, Some(1))]);
        answer(&mut round, &mut books, vec![error(ErrorKind::Unavailable)]);
        round.expire(Instant::now(), &mut books);
        assert!(batch(&round).is_empty());
        assert_eq!(books.sequencer.open(&LANE), Some(1));
    }
}
